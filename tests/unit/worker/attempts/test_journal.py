"""What a worker takes down of an attempt's phases."""

from __future__ import annotations

import logging

import pytest

from perago.ports import Event, Phase
from perago.telemetry.facts import PhaseFact
from perago.telemetry.logs import log_event
from perago.testing.contract.bench import engine_task
from perago.worker.attempts.job import Job
from perago.worker.attempts.journal import Journal
from perago.worker.executor.wire import PhaseEvent
from perago.worker.process.messages import Log

CAUTION = {"ref": "abc", "fence": "not guaranteed is this and that"}


class Lines:
    """A task's lines in the engine's log of it."""

    def __init__(self):
        self.added = []

    def add(self, attempt, text):
        self.added.append((attempt.task_id, text))


def phase(name, event, **attributes):
    return PhaseEvent(fact=PhaseFact(phase=name, kind=event, attributes=attributes))


def test_what_a_publication_does_not_guarantee_is_a_warning_in_both_logs(caplog):
    caplog.set_level(logging.INFO)
    lines, job = Lines(), Job(engine_task(task_id="t"))
    Journal(lines).phase(job, phase("publish", "progress", **CAUTION))
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "not guaranteed is this and that.")
    assert (record.perago_fields["execution"], record.perago_fields["ref"]) == (job.execution_id, "abc")
    assert lines.added == [("t", "WARNING not guaranteed is this and that.")]


@pytest.mark.parametrize(
    ("count", "begin", "end"), [(1, "a changed file is not", ": a."), (9, "9 changed files are not", ": a, ….")]
)
def test_files_that_are_left_out_are_a_warning_in_both_logs(caplog, count, begin, end):
    said = f"{begin} published, because no include pattern of the workspace matches{end}"
    caplog.set_level(logging.INFO)
    lines = Lines()
    Journal(lines).phase(Job(engine_task(task_id="t")), phase("diff", "progress", left_out=count, such_as=["a"]))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", said)]
    assert lines.added == [("t", f"WARNING {said}")]


@pytest.mark.parametrize(
    ("name", "attributes", "said"),
    [
        ("parse", {"unknown_fields": 5, "such_as": ["'x'"]}, "ignores unknown fields of its input: 'x' and 4 more."),
        ("parse", {"unknown_params": 1, "such_as": ["'x'"], "known": []}, "ignores unknown params: 'x'"),
        ("post_guards", {"not_published": 1, "such_as": ["'a'"]}, "a changed file is not published"),
        ("materialize", {"empty_prefix": "in/"}, "the workspace's prefix in/ has no files."),
        ("materialize", {"unmatched": ["*.csv"]}, "no file matches the workspace's include '*.csv'"),
    ],
)
def test_what_has_no_effect_is_a_warning_in_both_logs(caplog, name, attributes, said):
    caplog.set_level(logging.INFO)
    lines = Lines()
    Journal(lines).phase(Job(engine_task(task_id="t")), phase(name, "progress", **attributes))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert said in record.getMessage()
    assert lines.added == [("t", f"WARNING {record.getMessage()}")]


def test_a_lost_swap_is_no_failure_in_the_worker_s_log(caplog):
    caplog.set_level(logging.DEBUG)
    fact = PhaseFact(phase="publish", kind="lost", error_type="HeadMovedError", error="it moved")
    Journal(Lines()).phase(Job(engine_task(task_id="t")), PhaseEvent(fact=fact))
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("DEBUG", "publish lost")


@pytest.mark.parametrize(("name", "attributes"), [("stage", {"files": 1}), ("publish", {"ref": "abc"})])
def test_progress_of_a_store_is_no_line(caplog, name, attributes):
    caplog.set_level(logging.INFO)
    lines = Lines()
    Journal(lines).phase(Job(engine_task(task_id="t")), phase(name, "progress", **attributes))
    assert (caplog.records, lines.added) == ([], [])


def test_without_a_worker_it_is_a_warning_too(caplog):
    caplog.set_level(logging.INFO)
    log_event(Event(phase=Phase.PUBLISH, kind="progress", attributes=CAUTION))
    log_event(Event(phase=Phase.PUBLISH, kind="completed", attributes={"ref": "abc"}))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "fence=not guaranteed is this and that" in record.getMessage()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {}),
        ({"rows": 3}, {"fields": {"rows": 3}}),
        ({"phase": "train", "workflow": "mine"}, {"fields": {"phase": "train", "workflow": "mine"}}),
        (
            {"event": "read", "fields": {"rows": 3, "task": "x"}, "attempt": {}},
            {"event": "read", "fields": {"rows": 3, "task": "x"}},
        ),
    ],
)
def test_what_a_bodys_line_holds_is_not_taken_for_what_the_worker_says(caplog, given, told):
    caplog.set_level(logging.INFO)
    job = Job(engine_task(task_id="t"))
    job.phase = "body"
    Journal(Lines()).log(job, Log(logger="mine", level=logging.INFO, text="read", created=1.0, fields=given))
    [record] = caplog.records
    assert record.perago_fields == {**job.fields(), **told}
