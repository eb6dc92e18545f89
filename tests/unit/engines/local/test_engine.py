"""Starting, resuming and ending runs of the local engine."""

import fcntl
import json
import os
import re
from dataclasses import replace

import pytest

from perago.engines.local import LocalEngine
from perago.errors import EngineError, RunBusyError, RunNotFoundError
from perago.values.models import AttemptIdentity, RuntimeTaskResult

DONE = RuntimeTaskResult("COMPLETED", {"workspace": {"ref": "b" * 40}, "result": {"rows": 1}})
FAILED = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")


def tries(engine, run_id):
    (summary,) = (entry for entry in engine.runs() if entry.run_id == run_id)
    return summary.status, summary.tries, summary.reason


@pytest.fixture
def reopened(tmp_path, clock):
    """The same directory, as another process sees it."""
    return LocalEngine(tmp_path / "runs", clock)


def test_a_run_has_a_short_sortable_id_and_a_whole_identity(start):
    run = start()
    assert re.fullmatch(r"20260101-000000-[a-z0-9]{6}", run.run_id)
    identity = AttemptIdentity.of(run.attempt)
    assert None not in vars(identity).values()
    assert identity.workflow_instance_id == run.run_id
    assert (identity.reference_task_name, identity.task_def_name) == ("build", "build")
    assert (identity.retry_count, identity.poll_count, run.attempt.status) == (0, 1, "IN_PROGRESS")


def test_the_record_is_its_owners_alone(start, engine, tmp_path):
    run = start()
    record = tmp_path / "runs" / run.run_id / "run.json"
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(record.read_text())["input_data"]["params"] == {"n": 1}
    assert sorted(path.name for path in record.parent.iterdir()) == ["lock", "run.json"]


def test_a_failed_run_is_resumed_from_the_same_input(start, engine, clock, reopened):
    with start(options={"repo": "./data.git"}) as first:
        engine.report_result(first.attempt, FAILED)
    clock.advance(5)
    with reopened.resume_run(first.run_id) as second:
        assert second.input_data == first.input_data
        assert (second.target, second.task_name, second.options) == ("app.tasks:build", "build", {"repo": "./data.git"})
        assert second.attempt.retry_count == 1
        assert second.attempt.task_id != first.attempt.task_id
        assert second.attempt.scheduled_time > first.attempt.scheduled_time
        older, newer = second.record.as_instance().tries
        assert (older.status, newer.retried_task_id) == ("FAILED", older.task_id)


def test_a_completed_run_is_not_resumed_and_its_commit_is_named(start, engine):
    with start() as run:
        engine.report_result(run.attempt, DONE)
    with pytest.raises(EngineError, match="COMPLETED already, with commit " + "b" * 40):
        engine.resume_run(run.run_id)
    assert tries(engine, run.run_id)[:2] == ("COMPLETED", 1)


@pytest.mark.parametrize("run_id", ["20260101-000000-aaaaaa", "../../etc", "", "x", "20260101-000000-aaaaaa/.."])
def test_a_run_that_is_not_there_is_not_found(engine, start, run_id):
    with pytest.raises(RunNotFoundError, match="perago runs"):
        engine.resume_run(run_id)
    start()
    with pytest.raises(RunNotFoundError, match="perago runs"):
        engine.resume_run(run_id)


def test_an_id_leads_to_no_other_directory(start, engine, tmp_path):
    start()
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(RunNotFoundError):
        engine.resume_run("../other")
    assert list(other.iterdir()) == []


def test_a_run_that_goes_while_it_is_being_locked_is_not_found(start, engine, tmp_path, monkeypatch):
    run = start()
    run.close()
    flock = fcntl.flock

    def remove_first(descriptor, operation):
        """There is no other way to come between the opening of the file and its lock."""
        (tmp_path / "runs" / run.run_id).rename(tmp_path / "removed")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    with pytest.raises(RunNotFoundError):
        engine.resume_run(run.run_id)


def test_a_run_that_a_process_has_is_busy_until_it_is_closed(start, engine, reopened):
    run = start()
    with pytest.raises(RunBusyError, match=f"process {os.getpid()} on "):
        reopened.resume_run(run.run_id)
    run.close()
    run.close()
    reopened.resume_run(run.run_id).close()


def test_a_run_that_is_given_up_without_a_result_is_failed(start, engine):
    with start() as run:
        pass
    assert tries(engine, run.run_id) == ("FAILED", 1, "it ended without a result")


def test_another_try_in_the_same_process(start, engine):
    run = start()
    first = run.attempt
    engine.report_result(first, FAILED)
    assert run.next_try("another") is run
    second = run.attempt
    assert (second.retry_count, second.task_id != first.task_id) == (1, True)
    run.next_try("took too long")
    statuses = [(entry.status.value, entry.reason) for entry in run.record.tries]
    assert statuses == [("FAILED", "no luck"), ("FAILED", "took too long"), ("IN_PROGRESS", None)]
    engine.report_result(second, DONE)
    assert run.attempt.status == "IN_PROGRESS"
    engine.report_result(run.attempt, DONE)
    with pytest.raises(EngineError, match="is COMPLETED"):
        run.next_try("another")


def test_a_cancelled_try_is_current_no_more_and_none_follows(start, engine):
    run = start()
    attempt = run.attempt
    run.cancel()
    assert engine.load_current_attempt(attempt).status == "CANCELED"
    assert run.cancelled
    engine.report_result(attempt, DONE)
    with pytest.raises(EngineError, match="cancelled"):
        run.next_try("another")
    run.close()
    assert tries(engine, run.run_id) == ("CANCELED", 1, "cancelled")
    with engine.resume_run(run.run_id) as resumed:
        assert (resumed.attempt.retry_count, resumed.attempt.status) == (1, "IN_PROGRESS")


def test_a_cancel_that_comes_after_the_end_changes_nothing(start, engine):
    run = start()
    engine.report_result(run.attempt, DONE)
    run.cancel()
    assert engine.load_current_attempt(run.attempt).status == "COMPLETED"


def test_masked_params_are_not_kept_and_have_to_be_given_again(start, engine, tmp_path):
    masked = {"params": {"token": "**********"}}
    run = start(input_data=masked, params_exact=False)
    run.close()
    with pytest.raises(EngineError, match="contain secrets"):
        engine.resume_run(run.run_id)
    with pytest.raises(EngineError, match=r"run .*: token was \"\*+\", day was not given\. To resume it, give all"):
        engine.resume_run(run.run_id, input_params={"day": 1})
    again = {"input_params": {"token": "hunter2"}, "masked_params": masked["params"]}
    with engine.resume_run(run.run_id, **again) as resumed:
        assert resumed.input_data == {"params": {"token": "hunter2"}}
    assert "hunter2" not in (tmp_path / "runs" / run.run_id / "run.json").read_text()
    assert tries(engine, run.run_id)[1] == 2


def test_a_resume_takes_no_other_params(start, engine):
    run = start()
    run.close()
    with pytest.raises(EngineError, match="not the original params"):
        engine.resume_run(run.run_id, input_params={"n": 2})
    with engine.resume_run(run.run_id, input_params={"n": 1}) as resumed:
        assert resumed.input_data == run.input_data


def test_a_closed_run_takes_no_report_and_no_try(start, engine):
    run = start()
    attempt = run.attempt
    run.close()
    engine.report_result(attempt, DONE)
    with pytest.raises(EngineError, match="was closed"):
        run.next_try("another")
    assert tries(engine, run.run_id)[:2] == ("FAILED", 1)


def test_only_the_process_that_has_a_run_reports_for_it(start, engine, reopened):
    run = start()
    with pytest.raises(EngineError, match="belongs to another process"):
        reopened.report_result(run.attempt, DONE)
    assert reopened.load_current_attempt(run.attempt).status == "IN_PROGRESS"


def test_attempts_that_the_engine_does_not_know(start, engine):
    run = start()
    with pytest.raises(EngineError, match="no try 'other'"):
        engine.load_current_attempt(replace(run.attempt, task_id="other"))
    with pytest.raises(EngineError, match="no try 'other'"):
        engine.report_result(replace(run.attempt, task_id="other"), DONE)
    with pytest.raises(RunNotFoundError):
        engine.load_record(replace(run.attempt, workflow_instance_id="20200101-000000-zzzzzz"))


def test_what_is_no_json_is_refused_and_leaves_no_run(start, engine, tmp_path):
    with pytest.raises(EngineError, match="not JSON"):
        start(options={"path": tmp_path})
    assert list(engine.runs()) == []
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".lock"]


def test_times_of_the_tries_rise_though_the_clock_goes_back(start, engine, clock):
    run = start()
    clock.set(clock.now().replace(year=2020))
    for _ in range(3):
        run.next_try("another")
    times = [entry.scheduled_time for entry in run.record.tries]
    assert times == sorted(set(times))


def test_durations_are_those_of_each_try(start, engine, clock):
    run = start()
    clock.advance(2)
    run.next_try("another")
    clock.advance(0.5)
    engine.report_result(run.attempt, DONE)
    assert [entry.duration_ms for entry in run.record.tries] == [2000, 500]


def test_the_numbers_of_a_try_are_kept_beside_the_record(engine, start):
    run = start()
    identity = AttemptIdentity.of(run.attempt)
    engine.note_series(identity, {"loss": [[0.0, 1.5], [1.0, 0.5]]})
    engine.note_series(replace(identity, task_id="../other"), {"loss": [[0.0, 1.0]]})
    assert engine.series_of(run.run_id) == {run.attempt.task_id: {"loss": [(0.0, 1.5), (1.0, 0.5)]}}


def test_numbers_that_are_damaged_are_said(engine, start, tmp_path):
    run = start()
    engine.note_series(AttemptIdentity.of(run.attempt), {"loss": [[0.0, 1.5]]})
    (tmp_path / "runs" / run.run_id / f"series-{run.attempt.task_id}.json").write_text('{"loss": [1')
    with pytest.raises(EngineError, match="damaged; remove it"):
        engine.series_of(run.run_id)


def test_a_disk_that_refuses_the_numbers_fails_nothing(engine, start, tmp_path, caplog):
    run = start()
    (tmp_path / "runs" / run.run_id / f"series-{run.attempt.task_id}.json").mkdir()
    engine.note_series(AttemptIdentity.of(run.attempt), {"loss": [[0.0, 1.5]]})
    assert "not kept on this host" in caplog.text
