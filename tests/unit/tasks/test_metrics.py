"""A body's own metrics: what is refused, and what reaches a recorder that delivers."""

from __future__ import annotations

import decimal
import fractions

import pytest

from perago import MetricRecorder


class Kept(MetricRecorder):
    def __init__(self):
        self.values = []

    def deliver(self, instrument, name, value, labels):
        self.values.append((instrument, name, value, dict(labels)))


@pytest.fixture
def kept():
    return Kept()


def test_gauges_and_histograms_reach_the_recorder(kept):
    kept.gauge("rows", 3)
    kept.histogram("file.size/bytes", 1.5, labels={"kind": "csv"})
    assert kept.values == [("gauge", "rows", 3.0, {}), ("histogram", "file.size/bytes", 1.5, {"kind": "csv"})]


def test_a_timer_records_seconds_also_when_its_block_raises(kept):
    with kept.timer("read", labels={"a": "b"}):
        pass
    with pytest.raises(LookupError), kept.timer("read"):
        raise LookupError
    first, second = kept.values
    assert first[:2] == second[:2] == ("histogram", "read")
    assert 0 <= first[2] < 5
    assert (first[3], second[3]) == ({"a": "b"}, {})


def test_a_timer_with_a_wrong_name_fails_before_its_block_runs(kept):
    with pytest.raises(ValueError, match="no name of a metric"):
        kept.timer("not a name")


@pytest.mark.parametrize("name", ["", " ", "a b", "1st", "_a", "é", "a" * 256, "a\n", None, 5])
def test_names_that_no_exporter_takes_are_refused(kept, name):
    with pytest.raises(ValueError, match="no name of a metric"):
        kept.gauge(name, 1)
    assert kept.values == []


@pytest.mark.parametrize("name", ["a", "A_b.c-d/e", "a" * 255])
def test_names_that_exporters_take_are_taken(kept, name):
    kept.gauge(name, 1)
    assert kept.values == [("gauge", name, 1.0, {})]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), None, "1", True, decimal.Decimal("NaN"), 1j]
)
def test_values_that_are_no_finite_number_are_refused(kept, value):
    with pytest.raises(ValueError, match="metric 'rows'"):
        kept.histogram("rows", value)
    assert kept.values == []


@pytest.mark.parametrize("value", [0, -1, 10**30, 1.5, fractions.Fraction(1, 2)])
def test_any_finite_number_is_a_value(kept, value):
    kept.gauge("rows", value)
    assert kept.values == [("gauge", "rows", float(value), {})]


@pytest.mark.parametrize("labels", [{"": "x"}, {" ": "x"}, {1: "x"}, {"a": None}, {"a": ["x"]}])
def test_labels_that_are_no_texts_are_refused(kept, labels):
    with pytest.raises(ValueError, match="metric 'rows'"):
        kept.gauge("rows", 1, labels=labels)
    assert kept.values == []


def test_numbers_in_labels_are_written_as_text(kept):
    kept.gauge("rows", 1, labels={"fold": 3, "last": True})
    assert kept.values == [("gauge", "rows", 1.0, {"fold": "3", "last": "True"})]


def test_the_base_recorder_checks_and_discards():
    recorder = MetricRecorder()
    recorder.gauge("rows", 1)
    with recorder.timer("read"):
        pass
    with pytest.raises(ValueError, match="no name of a metric"):
        recorder.gauge("", 1)
