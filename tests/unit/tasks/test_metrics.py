"""A body's own metrics: what is refused, and what reaches a recorder that delivers."""

from __future__ import annotations

import dataclasses
import decimal
import fractions
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, run_workspace_free_task_attempt, task
from perago.tasks import metrics


class Params(BaseModel):
    text: str = ""


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
    with pytest.raises(ValueError, match="not a valid metric name"):
        kept.timer("not a name")


@pytest.mark.parametrize("name", [" ", "a b", "é", "a" * 256, "a\n"])
def test_names_that_no_exporter_takes_are_refused(kept, name):
    with pytest.raises(ValueError, match="not a valid metric name"):
        kept.gauge(name, 1)
    assert kept.values == []


@pytest.mark.parametrize("name", ["5xx", "_a", "", 5])
def test_a_name_that_begins_with_no_letter_gets_the_letters_that_0_6_gave_it(kept, name):
    kept.gauge(name, 1)
    with kept.timer(name):
        pass
    assert [value[1] for value in kept.values] == [f"app.{name}"] * 2


@pytest.mark.parametrize("name", ["a", "A_b.c-d/e", "a" * 255])
def test_names_that_exporters_take_are_taken(kept, name):
    kept.gauge(name, 1)
    assert kept.values == [("gauge", name, 1.0, {})]


@pytest.mark.parametrize("value", [None, "1", 1j, 10**400])
def test_values_that_are_no_number_are_refused(kept, value):
    with pytest.raises(ValueError, match="metric 'rows'"):
        kept.histogram("rows", value)
    assert kept.values == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), decimal.Decimal("NaN")])
def test_a_value_that_is_not_finite_is_dropped_with_one_warning_for_each_metric(kept, caplog, value):
    for name in (f"loss.{value}", f"loss.{value}", f"other.{value}"):
        kept.gauge(name, value)
        kept.histogram(name, 1)
    assert [value[:3] for value in kept.values] == [
        ("histogram", f"loss.{value}", 1.0),
        ("histogram", f"loss.{value}", 1.0),
        ("histogram", f"other.{value}", 1.0),
    ]
    assert [(record.levelname, record.name) for record in caplog.records] == [("WARNING", "perago.task")] * 2
    assert f"metric 'loss.{value}'" in caplog.messages[0]
    assert f"metric 'other.{value}'" in caplog.messages[1]


@pytest.mark.parametrize("value", [0, -1, 10**30, 1.5, fractions.Fraction(1, 2), True, decimal.Decimal("1.5")])
def test_any_finite_number_is_a_value(kept, value):
    kept.gauge("rows", value)
    assert kept.values == [("gauge", "rows", float(value), {})]


@pytest.mark.parametrize(
    ("name", "label"),
    [("empty", {"": "x"}), ("blank", {" ": "x"}), ("number", {1: "x"}), ("none", {"a": None}), ("list", {"a": ["x"]})],
)
def test_a_label_that_is_no_text_is_dropped_with_one_warning_for_each_metric(kept, caplog, name, label):
    kept.gauge(name, 1, labels={**label, "kept": "yes"})
    with kept.timer(name, labels={**label, "kept": "yes"}):
        pass
    assert [(value[1], value[3]) for value in kept.values] == [(name, {"kept": "yes"})] * 2
    assert len(caplog.records) == 1
    assert f"metric {name!r}" in caplog.text


@pytest.mark.parametrize("one_recorder", [True, False])
def test_each_attempt_tells_in_the_log_of_its_task_what_it_drops(caplog, one_recorder):
    def declare(name):
        @task(name=name, owner_email="ada@example.org", metrics=MetricSpec())
        def diverging(params: Params, metrics: MetricRecorder) -> Params:
            for _ in range(2):
                metrics.gauge("loss", float("nan"))
                metrics.gauge("rows", 1, labels={"": "x"})
            return params

        return diverging.__perago_task__

    recorder = Kept()
    for name in ("fit", "fit", "refit"):
        attempt = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id="w", task_id="t-1", retry_count=0)
        given = recorder if one_recorder else Kept()
        run_workspace_free_task_attempt(declare(name), {"params": {}}, attempt=attempt, metrics=given)
    told = [(record.name, record.getMessage().partition(":")[0]) for record in caplog.records]
    assert told == [
        (f"perago.task.{name}", f"metric {metric!r}") for name in ("fit", "fit", "refit") for metric in ("loss", "rows")
    ]


def test_a_recorder_that_cannot_be_written_to_and_has_a_context_of_its_own_warns_once(caplog):
    @dataclasses.dataclass(frozen=True)
    class Frozen(MetricRecorder):
        @property
        def context(self):
            return SimpleNamespace(task_id="mine")

    recorder = Frozen()
    for _ in range(2):
        recorder.gauge("loss", float("nan"))
    assert [record.name for record in caplog.records] == ["perago.task"]


def test_the_warnings_of_one_attempt_are_bounded(kept, caplog, monkeypatch):
    monkeypatch.setattr(metrics, "MAX_WARNINGS", 2)
    for name in ("a", "b", "c", "a"):
        kept.gauge(name, float("nan"))
    assert [message.partition(":")[0] for message in caplog.messages] == ["metric 'a'", "metric 'b'"]


def test_a_recorder_knows_the_attempt_that_it_records_for():
    @task(name="measured", owner_email="ada@example.org", metrics=MetricSpec())
    def measured(params: Params, metrics: MetricRecorder) -> Params:
        return Params(text=f"{metrics.context.task_name} {metrics.context.retry_count} {metrics.context.task_id}")

    class Old(MetricRecorder):
        """One written for 0.6."""

        @property
        def context(self):
            return SimpleNamespace(task_name="old", retry_count=9, task_id="mine")

    given = {"params": {}}
    attempt = SimpleNamespace(status="IN_PROGRESS", workflow_instance_id="w", task_id="t-1", retry_count=2)
    definition = measured.__perago_task__
    for recorder, told in ((None, "measured 2 t-1"), (Kept(), "measured 2 t-1"), (Old(), "old 9 mine")):
        result = run_workspace_free_task_attempt(definition, given, attempt=attempt, metrics=recorder)
        assert result.output == {"result": {"text": told}}
    assert MetricRecorder().context is None


def test_numbers_in_labels_are_written_as_text(kept):
    kept.gauge("rows", 1, labels={"fold": 3, "last": True})
    assert kept.values == [("gauge", "rows", 1.0, {"fold": "3", "last": "True"})]


def test_the_base_recorder_checks_and_discards():
    recorder = MetricRecorder()
    recorder.gauge("rows", 1)
    with recorder.timer("read"):
        pass
    with pytest.raises(ValueError, match="not a valid metric name"):
        recorder.gauge("a b", 1)
