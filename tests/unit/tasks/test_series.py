"""The numbers that a body records, kept with its result."""

from __future__ import annotations

import itertools

import pytest

from perago.tasks.metrics import MetricRecorder
from perago.tasks.series import MAX_HELD, MAX_POINTS, MAX_SERIES, SeriesRecorder


class Heard(MetricRecorder):
    def __init__(self):
        self.values = []

    def deliver(self, instrument, name, value, labels):
        self.values.append((instrument, name, value, dict(labels)))


class OfVersion06(Heard):
    """A recorder of a user, which knows no steps."""

    def gauge(self, name, value, *, labels=None):
        super().gauge(name, value, labels=labels)


def test_gauges_are_kept_by_name_and_labels_with_their_steps():
    recorder = SeriesRecorder(None)
    recorder.gauge("loss", 3)
    recorder.gauge("loss", 2)
    recorder.gauge("loss", 1, labels={"split": "val", "fold": 2}, step=10)
    recorder.histogram("seconds", 1)
    assert recorder.kept() == {"loss": [[0.0, 3.0], [1.0, 2.0]], "loss fold=2 split=val": [[10.0, 1.0]]}


@pytest.mark.parametrize("listener", [Heard, OfVersion06])
def test_a_listener_hears_everything_once(listener):
    heard = listener()
    recorder = SeriesRecorder(heard)
    recorder.gauge("loss", 3, step=7, labels={"a": "b"})
    recorder.histogram("seconds", 1)
    with recorder.timer("took"):
        pass
    assert heard.values[:2] == [("gauge", "loss", 3.0, {"a": "b"}), ("histogram", "seconds", 1.0, {})]
    assert [value[1] for value in heard.values] == ["loss", "seconds", "took"]


def test_nothing_recorded_is_nothing_kept():
    assert SeriesRecorder(None).kept() is None


@pytest.mark.parametrize("count", [MAX_POINTS, MAX_POINTS + 1, 5_000, 123_457])
def test_of_many_points_some_are_kept_evenly(count):
    recorder = SeriesRecorder(None)
    for number in range(count):
        recorder.gauge("loss", number)
    points = recorder.kept()["loss"]
    assert len(points) == MAX_POINTS
    assert (points[0], points[-1]) == ([0, 0], [count - 1, count - 1])
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(points)]
    assert min(gaps) >= 1
    assert max(gaps) <= 4 * count / MAX_POINTS + 2


def test_many_series_are_kept_with_fewer_points_so_that_a_stamp_takes_them():
    recorder = SeriesRecorder(None)
    for name in range(MAX_SERIES + 5):
        for number in range(1_000):
            recorder.gauge(f"a_long_name_{name}", number / 7)
    kept = recorder.kept()
    assert len(kept) == MAX_SERIES
    assert {len(points) for points in kept.values()} == {len(kept["a_long_name_0"])}
    assert 10 < len(kept["a_long_name_0"]) < MAX_POINTS


@pytest.mark.parametrize("count", [1, MAX_POINTS + 1, MAX_HELD - 1])
def test_the_record_of_this_host_has_every_point(count):
    recorder = SeriesRecorder(None)
    for number in range(count):
        recorder.gauge("loss", -number)
    assert recorder.whole() == {"loss": [[number, -number] for number in range(count)]}


def test_far_too_many_points_are_bounded_there_too():
    recorder = SeriesRecorder(None)
    for number in range(3 * MAX_HELD):
        recorder.gauge("loss", number)
    points = recorder.whole()["loss"]
    assert MAX_HELD / 2 <= len(points) <= MAX_HELD
    assert (points[0], points[-1]) == ([0, 0], [3 * MAX_HELD - 1] * 2)


def test_a_recorder_that_keeps_series_is_used_as_it_is():
    recorder = SeriesRecorder(None)
    assert SeriesRecorder.of(recorder) is recorder
    heard = Heard()
    SeriesRecorder.of(heard).gauge("loss", 1)
    assert heard.values


@pytest.mark.parametrize("wrong", [{"value": float("nan")}, {"value": 1, "step": float("inf")}])
def test_what_is_not_finite_is_left_out(wrong, caplog):
    recorder = SeriesRecorder(None)
    recorder.gauge("loss", **wrong)
    assert recorder.kept() is None
    assert "not finite" in caplog.text


def test_a_step_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="must be a number"):
        SeriesRecorder(None).gauge("loss", 1, step="first")
