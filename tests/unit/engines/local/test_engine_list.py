"""Listing the runs of the local engine, and letting the old ones go."""

from datetime import UTC, datetime

import pytest

from perago.engines.local import LocalEngine
from perago.errors import EngineError
from perago.values.models import RuntimeTaskResult

DONE = RuntimeTaskResult("COMPLETED", {"workspace": {"ref": "b" * 40}, "result": {}})


def listed(engine):
    return [(summary.run_id, summary.status) for summary in engine.runs()]


def test_no_directory_is_no_runs(engine):
    assert list(engine.runs()) == []


def test_a_list_says_who_did_what_on_what(start, engine, clock):
    run = start()
    clock.advance(1.5)
    engine.report_result(run.attempt, DONE)
    (summary,) = engine.runs()
    assert (summary.run_id, summary.target, summary.task_name) == (run.run_id, "app.tasks:build", "build")
    assert (summary.repository, summary.branch, summary.input_ref) == ("data", "main", "a" * 40)
    assert (summary.status, summary.tries, summary.output_ref, summary.reason) == ("COMPLETED", 1, "b" * 40, None)
    assert (summary.started, summary.duration) == (datetime(2026, 1, 1, tzinfo=UTC), 1.5)


def test_a_run_under_way_says_for_how_long(start, engine, clock):
    start()
    clock.advance(7)
    (summary,) = engine.runs()
    assert (summary.status, summary.duration) == ("running", 7.0)


def test_the_newest_come_first_within_a_second_too(start, engine, clock):
    started = []
    for _ in range(8):
        started.append(start().run_id)
        clock.advance(0.3)
    assert [run_id for run_id, _ in listed(engine)] == started[::-1]


def test_a_free_task_has_no_workspace(start, engine):
    start(input_data={"params": {}})
    (summary,) = engine.runs()
    assert (summary.repository, summary.branch, summary.input_ref) == (None, None, None)


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


DAMAGES = {
    "no JSON": "{",
    "a field is missing": '{"run_id": "x"}',
    "of a later version": None,
    "too deep": "[" * 100_000,
    "not text": b"\xff\xfe",
    "not there": "",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_said_to_be_and_does_not_stop_the_list(start, engine, clock, tmp_path, damage):
    broken = start()
    broken.close()
    clock.advance(1)
    fine = start()
    record = tmp_path / "runs" / broken.run_id / "run.json"
    text = DAMAGES[damage]
    if text is None:
        text = record.read_text().replace('"version": 1', '"version": 2')
    record.write_bytes(text if isinstance(text, bytes) else text.encode())
    if not text:
        record.unlink()
    assert listed(engine) == [(fine.run_id, "running"), (broken.run_id, "unreadable")]
    reason = list(engine.runs())[1].reason
    assert "run.json" in reason
    with pytest.raises(EngineError):
        engine.resume_run(broken.run_id)
    with pytest.raises(EngineError):  # the lock was given back: it is not busy now
        engine.resume_run(broken.run_id)


def test_a_record_of_another_run_is_damaged(start, engine, tmp_path):
    first, second = start(), start()
    source, target = (tmp_path / "runs" / run.run_id / "run.json" for run in (first, second))
    target.write_text(source.read_text())
    assert dict(listed(engine))[second.run_id] == "unreadable"


def test_what_is_no_run_is_passed_over(start, engine, tmp_path):
    run = start()
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    (tmp_path / "runs" / "old").mkdir()
    assert listed(engine) == [(run.run_id, "running")]
    LocalEngine(tmp_path / "runs", keep=1).start_run(target="t", task_name="t", input_data={"params": {}}).close()
    assert (tmp_path / "runs" / "notes.txt").exists()


def test_the_oldest_runs_go_when_there_are_too_many_but_none_under_way(tmp_path, clock):
    engine = LocalEngine(tmp_path / "runs", clock, keep=3)
    runs = []
    for number in range(6):
        runs.append(engine.start_run(target="t", task_name="t", input_data={"params": {}}))
        if number != 1:
            runs[-1].close()
        clock.advance(1)
    kept = [run_id for run_id, _ in listed(engine)]
    assert kept == [runs[5].run_id, runs[4].run_id, runs[3].run_id, runs[1].run_id]
    runs[1].close()
    engine = LocalEngine(tmp_path / "runs", clock, keep=1)
    last = engine.start_run(target="t", task_name="t", input_data={"params": {}})
    assert [run_id for run_id, _ in listed(engine)] == [last.run_id]
    assert names_in(tmp_path / "runs") == [".lock", last.run_id]


def test_what_killed_processes_left_goes(start, engine, tmp_path):
    run = start()
    run.close()
    runs = tmp_path / "runs"
    (runs / ".new-0123456789abcdef").mkdir()
    (runs / ".new-0123456789abcdef" / "run.json").write_text("{}")
    (runs / f".trash-{'0' * 32}").mkdir()
    later = start()
    assert names_in(runs) == [".lock", *sorted([run.run_id, later.run_id])]


def test_a_resume_sweeps_what_a_killed_writer_left(start, engine, tmp_path):
    run = start()
    run.close()
    leftover = tmp_path / "runs" / run.run_id / ".run.json.0123"
    leftover.write_text("half")
    engine.resume_run(run.run_id).close()
    assert not leftover.exists()


def test_an_engine_keeps_at_least_one_record(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        LocalEngine(tmp_path, keep=0)
