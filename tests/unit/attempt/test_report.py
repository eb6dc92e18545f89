"""Reporting so that it sticks, and never for another."""

from dataclasses import replace

import pytest

from attempt_world import World, nothing, ref_of
from perago.attempt.phases import Phases
from perago.attempt.report import MAX_REPORTS, Reported, last_look, report_attempt
from perago.errors import EngineError
from perago.ports import SystemClock, ignore

PHASES = Phases(ignore, SystemClock(), execution_id="e", task_id="t")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "root")
    world.schedule()
    return world


def report(world, attempt, result, engine=None, **options):
    look = last_look(
        world.task,
        attempt.input_data,
        attempt,
        read_history=world.store.read_history,
        load_record=world.engine.load_record,
    )
    return report_attempt(engine or world.engine, attempt, result, PHASES, last_look=look, **options)


class Reverting:
    """An engine in which a heartbeat reverts the first reports."""

    def __init__(self, engine, times):
        self.load_current_attempt, self.load_record = engine.load_current_attempt, engine.load_record
        self._engine, self._times = engine, times
        self.posts = 0

    def report_result(self, attempt, result):
        self._engine.report_result(attempt, result)
        self.posts += 1
        if self.posts <= self._times:
            self._engine.revert(attempt.task_id)


def test_a_result_is_recorded(world):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    assert report(world, attempt, result) is Reported.RECORDED
    assert world.engine.record().tries[0].output_ref == ref_of(result)


def test_a_failure_is_recorded(world):
    attempt = world.poll()
    world.body = lambda workspace, params: 1 / 0
    result = world.attempt(attempt, report=False)
    assert report(world, attempt, result) is Reported.RECORDED
    assert "ZeroDivisionError" in world.engine.reason(attempt.task_id)


@pytest.mark.parametrize("event", ["timeout", "requeue", "terminate"])
def test_an_attempt_that_is_not_current_reports_nothing(world, event):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    if event == "terminate":
        world.engine.terminate()
    else:
        getattr(world.engine, event)(attempt.task_id)
    before = world.engine.record()
    assert report(world, attempt, result) is Reported.STALE
    assert world.engine.record() == before


def test_a_report_that_is_reverted_is_posted_again(world):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    world.schedule("keeps the workflow open")
    engine = Reverting(world.engine, times=2)
    assert report(world, attempt, result, engine) is Reported.RECORDED
    assert engine.posts == 3
    assert world.engine.record().find(attempt.task_id).output_ref == ref_of(result)


def test_a_report_that_never_sticks_is_given_up_with_a_word(world):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    world.schedule("keeps the workflow open")
    with pytest.raises(EngineError, match="next try adopts"):
        report(world, attempt, result, Reverting(world.engine, times=MAX_REPORTS))


class CountsLooks:
    """An engine that counts how often it is asked for the attempt."""

    def __init__(self, engine):
        self.report_result = engine.report_result
        self._engine, self.looks = engine, 0

    def load_current_attempt(self, attempt):
        self.looks += 1
        return self._engine.load_current_attempt(attempt)


@pytest.mark.parametrize(("options", "looks"), [({}, 2), ({"is_just_seen": True}, 1)])
def test_an_execution_that_was_just_seen_is_looked_at_only_after_its_report(world, options, looks):
    attempt = world.poll()
    engine = CountsLooks(world.engine)
    assert report(world, attempt, world.attempt(attempt, report=False), engine, **options) is Reported.RECORDED
    assert engine.looks == looks


@pytest.mark.parametrize("event", ["timeout", "terminate"])
def test_what_was_just_seen_and_is_over_all_the_same_is_found_stale(world, event):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    world.engine.terminate() if event == "terminate" else world.engine.timeout(attempt.task_id)
    before = world.engine.record()
    assert report(world, attempt, result, is_just_seen=True) is Reported.STALE
    assert world.engine.record() == before


def test_a_rerun_in_between_is_told_by_the_look_after_the_report(world):
    """The engine accepts the report for the task's new execution. The attempt must notice that this is not its own."""
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    world.engine.terminate()
    world.engine.rerun(attempt.task_id)
    world.poll()
    assert report(world, attempt, result, is_just_seen=True) is Reported.STALE


def test_what_was_just_seen_is_fenced_before_it_is_posted_again(world):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    world.schedule("keeps the workflow open")
    engine = Reverting(world.engine, times=1)
    counted = CountsLooks(engine)
    assert report(world, attempt, result, counted, is_just_seen=True) is Reported.RECORDED
    assert (engine.posts, counted.looks) == (2, 3)


class Ends:
    """An engine that makes something else of what is reported."""

    def __init__(self, engine, status):
        self._engine, self._status = engine, status
        self.report_result = engine.report_result

    def load_current_attempt(self, attempt):
        now = self._engine.load_current_attempt(attempt)
        return now if now.status == "IN_PROGRESS" else replace(now, status=self._status)


@pytest.mark.parametrize(
    ("status", "reported"),
    [
        ("COMPLETED", Reported.RECORDED),
        ("FAILED_WITH_TERMINAL_ERROR", Reported.RECORDED),  # the output was too large for the engine
        ("CANCELED", Reported.STALE),
        ("TIMED_OUT", Reported.STALE),
        ("FAILED", Reported.STALE),
    ],
)
def test_a_result_counts_as_recorded_only_where_the_task_ended_by_it(world, status, reported):
    attempt = world.poll()
    result = world.attempt(attempt, report=False)
    assert report(world, attempt, result, Ends(world.engine, status)) is reported


def test_a_failure_of_an_optional_task_is_recorded(world):
    attempt = world.poll()
    world.body = lambda workspace, params: 1 / 0
    result = world.attempt(attempt, report=False)
    assert report(world, attempt, result, Ends(world.engine, "COMPLETED_WITH_ERRORS")) is Reported.RECORDED


def test_the_last_look_completes_as_another_try_did(world):
    """The first try's report comes so late that the second has already computed something else."""
    first = world.poll()
    world.body = nothing
    unchanged = world.attempt(first, report=False)
    write = world.engine.slow_report(first, unchanged)
    world.engine.timeout(first.task_id)
    second = world.poll()
    world.body = lambda workspace, params: (workspace / "out.txt").write_text("second")
    changed = world.attempt(second, report=False)
    write()
    assert ref_of(changed) != ref_of(unchanged)
    world.schedule("keeps the workflow open")
    assert report(world, second, changed) is Reported.RECORDED
    assert {entry.output_ref for entry in world.engine.record().of("say")} == {world.input_ref}
