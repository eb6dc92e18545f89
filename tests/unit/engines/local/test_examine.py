"""What is not Perago's under a run's name, or in its record: told of that run, and of the others as ever."""

import json
import os
import shutil

import pytest

from forks import exit_code_in_fork
from perago.errors import EngineError
from perago.values.findings import Kind

pytestmark = pytest.mark.timeout(60)  # nothing here waits for anything

HUGE = 10**400


def put_lock(make):
    def put(run, elsewhere):
        (run / "lock").unlink()
        make(run / "lock", elsewhere)

    return put


def put_instead(make):
    def put(run, elsewhere):
        shutil.rmtree(run)
        make(run)

    return put


def put_in_try(**values):
    def put(run, elsewhere):
        record = json.loads((run / "run.json").read_text())
        record["tries"][0] |= values
        (run / "run.json").write_text(json.dumps(record))

    return put


FOREIGN = {
    "a pipe for a lock": put_lock(lambda path, _: os.mkfifo(path)),
    "a directory for a lock": put_lock(lambda path, _: path.mkdir()),
    "a link for a lock": put_lock(lambda path, elsewhere: path.symlink_to(elsewhere)),
    "a file for a run": put_instead(lambda path: path.write_text("mine")),
    "a link to itself for a run": put_instead(lambda path: path.symlink_to(path)),
    "a duration beyond measure": put_in_try(duration_ms=HUGE),
    "a time beyond measure": put_in_try(scheduled_time=HUGE),
    "a status that no try has": put_in_try(status="SCHEDULED", ended_time=None, duration_ms=None),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_it_is_told_of_its_run_and_keeps_nobody_from_the_others(start, engine, clock, tmp_path, what):
    runs = tmp_path / "runs"
    assert exit_code_in_fork(lambda: os._exit(0) if start() else None) == 0  # it ends with its run under way
    (killed,) = engine.runs()
    leftover = runs / killed.run_id / ".run.json.0123"
    leftover.write_text("half")
    clock.advance(1)
    spoilt = start()
    spoilt.close()
    (tmp_path / "elsewhere").write_text("")
    FOREIGN[what](runs / spoilt.run_id, tmp_path / "elsewhere")

    assert [(run.run_id, run.status) for run in engine.runs()] == [
        (spoilt.run_id, "unreadable"),
        (killed.run_id, "killed"),
    ]
    assert engine.liveness_of(spoilt.run_id) != "alive"
    assert [(found.kind, found.what) for found in engine.examine()] == [
        (Kind.UNREADABLE_RUN, spoilt.run_id),
        (Kind.KILLED_RUN, killed.run_id),
        (Kind.RUN_LEFTOVER, str(leftover)),
    ]
    with pytest.raises(EngineError, match=spoilt.run_id):
        engine.resume_run(spoilt.run_id)
    assert engine.resume_run(killed.run_id).run_id == killed.run_id
