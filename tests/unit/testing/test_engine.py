"""The in-memory engine does what was measured on a Conductor server."""

import threading
from datetime import UTC, datetime

import pytest

from perago.errors import EngineError
from perago.testing import ManualClock, MemoryEngine
from perago.values.models import AttemptIdentity, RuntimeTaskResult

REF = "a" * 40
INPUT = {"workspace": {"repository": "r", "branch": "main", "refType": "commit", "ref": REF}, "params": {}}
DONE = RuntimeTaskResult("COMPLETED", {"result": {"rows": 1}})
FAILED = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")
TERMINAL = RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", reason_for_incompletion="never")


@pytest.fixture
def engine():
    return MemoryEngine(ManualClock())


def scheduled(engine, name="a", **options):
    engine.schedule(name, INPUT, **options)
    return engine.poll(name)


def statuses(engine):
    return [(entry.reference_task_name, entry.status.value) for entry in engine.record().tries]


def test_a_poll_delivers_what_was_scheduled_with_its_whole_identity(engine):
    engine.schedule("build", INPUT, reference_task_name="build_ref")
    assert engine.poll("another") is None
    attempt = engine.poll("build")
    assert (attempt.status, attempt.input_data) == ("IN_PROGRESS", INPUT)
    identity = AttemptIdentity.of(attempt)
    assert (identity.task_def_name, identity.reference_task_name) == ("build", "build_ref")
    assert (identity.retry_count, identity.poll_count, identity.seq, identity.iteration) == (0, 1, 1, 0)
    assert identity.scheduled_time == datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000
    assert engine.poll() is None
    assert engine.load_current_attempt(attempt) == attempt


def test_a_completed_report_is_recorded_and_ends_the_workflow(engine):
    attempt = scheduled(engine)
    engine.report_result(attempt, DONE)
    (entry,) = engine.load_record(attempt).tries
    assert (entry.status, entry.output, entry.input_refs) == ("COMPLETED", DONE.output, (REF,))
    assert entry.ended_time > entry.scheduled_time
    assert engine.status() == "COMPLETED"


def test_a_failure_is_retried_under_a_new_id_while_retries_are_left(engine):
    first = scheduled(engine, retries=1)
    engine.report_result(first, FAILED)
    second = engine.poll()
    assert (second.task_id != first.task_id, second.retry_count) == (True, 1)
    assert engine.record().find(second.task_id).retried_task_id == first.task_id
    assert engine.reason(first.task_id) == "no luck"
    engine.report_result(second, FAILED)
    assert engine.poll() is None
    assert engine.status() == "FAILED"


def test_a_terminal_error_fails_the_workflow_and_cancels_what_runs(engine):
    engine.schedule("b", INPUT)
    engine.report_result(scheduled(engine), TERMINAL)
    assert engine.status() == "FAILED"
    assert statuses(engine) == [("b", "CANCELED"), ("a", "FAILED_WITH_TERMINAL_ERROR")]


def test_an_optional_task_leaves_the_workflow_running(engine):
    engine.schedule("b", INPUT, after=("a",))
    engine.report_result(scheduled(engine, optional=True, retries=0), FAILED)
    assert statuses(engine) == [("a", "COMPLETED_WITH_ERRORS"), ("b", "SCHEDULED")]


def test_a_timeout_makes_the_next_try_and_the_late_report_is_dropped(engine):
    first = scheduled(engine)
    engine.timeout(first.task_id)
    engine.report_result(first, DONE)
    assert statuses(engine) == [("a", "TIMED_OUT"), ("a", "SCHEDULED")]
    assert engine.load_current_attempt(first).status == "TIMED_OUT"
    second = engine.poll()
    assert second.scheduled_time > first.scheduled_time


def test_a_requeued_task_is_delivered_again_and_any_workers_report_is_taken(engine):
    first = scheduled(engine)
    engine.requeue(first.task_id)
    again = engine.poll()
    assert (again.task_id, again.retry_count, again.scheduled_time) == (first.task_id, 0, first.scheduled_time)
    assert (first.poll_count, again.poll_count) == (1, 2)
    engine.report_result(first, DONE)
    assert engine.load_current_attempt(again).status == "COMPLETED"


def test_what_follows_is_scheduled_with_input_made_of_the_record(engine):
    engine.schedule("b", lambda record: {"params": record.of("a")[-1].output["result"]}, after=("a",))
    attempt = scheduled(engine)
    assert engine.poll() is None
    engine.report_result(attempt, DONE)
    assert engine.poll().input_data == {"params": {"rows": 1}}


def test_the_input_expression_is_evaluated_for_each_try(engine):
    engine.schedule("a", lambda record: {"params": {"tries": len(record.tries)}})
    engine.report_result(engine.poll(), FAILED)
    assert engine.poll().input_data == {"params": {"tries": 1}}


def test_terminate_cancels_and_a_workflow_retry_goes_on_counting(engine):
    first = scheduled(engine, retries=0)
    engine.terminate()
    engine.report_result(first, DONE)
    assert (engine.load_current_attempt(first).status, engine.status()) == ("CANCELED", "TERMINATED")
    engine.retry_workflow()
    second = engine.poll()
    assert (second.task_id != first.task_id, second.retry_count) == (True, 1)


def test_a_rerun_keeps_the_id_and_removes_what_came_later(engine):
    engine.schedule("b", INPUT, after=("a",))
    first = scheduled(engine)
    engine.report_result(first, DONE)
    later = engine.poll()
    engine.terminate()
    engine.rerun(first.task_id)
    again = engine.poll()
    assert (again.task_id, again.retry_count, again.poll_count) == (first.task_id, 0, 1)
    assert again.scheduled_time > later.scheduled_time
    assert engine.record().find(later.task_id) is None
    with pytest.raises(EngineError, match="removed"):
        engine.load_current_attempt(later)
    with pytest.raises(EngineError, match="removed"):
        engine.report_result(later, DONE)
    engine.report_result(again, DONE)
    assert engine.poll("b").task_id != later.task_id


def test_a_rerun_of_a_sibling_removes_the_other_for_good(engine):
    left, right = scheduled(engine, "left"), scheduled(engine, "right")
    engine.terminate()
    engine.rerun(left.task_id)
    engine.report_result(engine.poll(), DONE)
    assert engine.record().find(right.task_id) is None
    assert engine.status() == "COMPLETED"


def test_a_restart_removes_every_row_and_gives_new_ids(engine):
    engine.schedule("b", INPUT, after=("a",))
    first = scheduled(engine)
    engine.report_result(first, DONE)
    engine.terminate()
    engine.restart()
    assert statuses(engine) == [("a", "SCHEDULED")]
    again = engine.poll()
    assert (again.task_id != first.task_id, again.retry_count) == (True, 0)
    with pytest.raises(EngineError, match="removed"):
        engine.load_current_attempt(first)


def test_a_stalled_report_overwrites_the_row_as_it_was_read(engine):
    first = scheduled(engine)
    write = engine.slow_report(first, DONE)
    engine.timeout(first.task_id)
    write()
    assert statuses(engine) == [("a", "COMPLETED"), ("a", "SCHEDULED")]
    second = engine.poll()
    completed = engine.record().find(first.task_id)
    assert completed.ended_time > second.scheduled_time
    assert engine.status() == "RUNNING"


def test_a_stalled_failure_makes_no_third_try_beside_the_second(engine):
    first = scheduled(engine)
    write = engine.slow_report(first, FAILED)
    engine.timeout(first.task_id)
    write()
    assert statuses(engine) == [("a", "FAILED"), ("a", "SCHEDULED")]


def test_a_stalled_failure_of_a_task_that_a_rerun_removed_brings_nothing_back(engine):
    left, right = scheduled(engine, "left"), scheduled(engine, "right")
    write = engine.slow_report(right, FAILED)
    engine.terminate()
    engine.rerun(left.task_id)
    write()
    assert statuses(engine) == [("left", "SCHEDULED")]


def test_a_stalled_report_that_read_an_ended_row_or_lost_it_writes_nothing(engine):
    first = scheduled(engine)
    second = scheduled(engine, "b")
    engine.timeout(first.task_id)
    late = [engine.slow_report(attempt, result) for attempt in (first, second) for result in (DONE, FAILED)]
    engine.terminate()
    engine.restart()
    for write in late:
        write()
    assert statuses(engine) == [("a", "SCHEDULED"), ("b", "SCHEDULED")]


def test_a_heartbeat_in_flight_reverts_a_completed_task(engine):
    engine.schedule("b", INPUT, after=("a",))
    first = scheduled(engine)
    engine.report_result(first, DONE)
    engine.revert(first.task_id)
    entry = engine.record().find(first.task_id)
    assert (entry.status, entry.output, entry.ended_time) == ("IN_PROGRESS", None, None)


@pytest.mark.parametrize("event", ["rerun", "restart", "retry_workflow"])
def test_a_running_workflow_is_terminated_first(engine, event):
    attempt = scheduled(engine)
    with pytest.raises(EngineError, match="RUNNING"):
        getattr(engine, event)(*([attempt.task_id] if event == "rerun" else []))
    assert engine.load_current_attempt(attempt).status == "IN_PROGRESS"


def test_what_cannot_happen_is_refused(engine):
    attempt = scheduled(engine)
    with pytest.raises(EngineError, match="already"):
        engine.schedule("a", INPUT)
    engine.report_result(attempt, FAILED)
    for event in (engine.timeout, engine.requeue, engine.revert):
        with pytest.raises(EngineError, match="FAILED"):
            event(attempt.task_id)
    engine.terminate()
    with pytest.raises(EngineError, match="TERMINATED"):
        engine.terminate()
    with pytest.raises(EngineError, match="TERMINATED"):
        engine.schedule("b", INPUT)
    with pytest.raises(EngineError, match="start_workflow"):
        engine.record("workflow-9")


def test_workflows_are_apart(engine):
    other = engine.start_workflow()
    mine = scheduled(engine)
    engine.schedule("a", INPUT, workflow=other)
    theirs = engine.poll()
    assert theirs.workflow_instance_id == other
    engine.terminate(other)
    engine.report_result(mine, DONE)
    assert (engine.status(), engine.status(other)) == ("COMPLETED", "TERMINATED")
    assert engine.load_record(theirs).find(mine.task_id) is None


def test_times_rise_though_the_clock_goes_back():
    clock = ManualClock()
    engine = MemoryEngine(clock)
    attempts = [scheduled(engine)]
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    for _ in range(3):
        engine.timeout(attempts[-1].task_id)
        attempts.append(engine.poll())
    times = [attempt.scheduled_time for attempt in attempts]
    assert times == sorted(set(times))


def test_threads_that_poll_get_each_task_once():
    engine = MemoryEngine()
    for number in range(40):
        engine.schedule(f"task{number}", INPUT)
    got = []

    def work():
        while (attempt := engine.poll()) is not None:
            got.append(attempt.task_id)
            engine.report_result(attempt, DONE)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(got) == sorted({entry.task_id for entry in engine.record().tries})
    assert engine.status() == "COMPLETED"
