"""What `perago status` shows to people."""

from __future__ import annotations

import re
import time

import pytest

from perago.cli.commands.status import command
from perago.worker.supervisor.health import Check
from perago.worker.supervisor.lock import only_supervisor
from perago.worker.supervisor.status import JobStatus, SlotStatus, WorkerStatus, write_status


@pytest.fixture
def status(tmp_path, capsys):
    """Runs the command; gives its exit code and its lines on stdout, as if no second had passed since."""

    def run(*options):
        code = command.main(["--workspace-root", str(tmp_path), *options], standalone_mode=False)
        return code, re.sub(r"\b\d+ s\b", "0 s", capsys.readouterr().out).splitlines()

    return run


@pytest.fixture
def worker(tmp_path):
    """A worker at work, as it has written down; takes what is to be otherwise."""
    with only_supervisor(tmp_path, "worker-1") as directory:

        def write(**otherwise):
            now = time.time()
            job = JobStatus(
                workflow="w",
                task="build",
                reference="only",
                task_id="t",
                attempt=1,
                execution="e",
                phase="body",
                progress="40 of 100 (40 %): rows",
                begun_at=now - 90,
                ending=None,
            )
            facts = {
                "worker_id": "worker-1",
                "pid": 7,
                "state": "running",
                "execution_mode": "process",
                "tasks": ["build", "check"],
                "domain": None,
                "started_at": now - 7200,
                "polled_at": now,
                "undelivered": 0,
                "slots": [
                    SlotStatus(slot=1, state="busy", since=now - 90, deaths=0, memory_bytes=0, job=job),
                    SlotStatus(slot=2, state="idle", since=now - 7200, deaths=0, memory_bytes=50 * 1024**2),
                    SlotStatus(slot=3, state="waiting", since=now, deaths=1, memory_bytes=0),
                    SlotStatus(slot=4, state="waiting", since=now, deaths=3, memory_bytes=0),
                ],
                "live": True,
                "ready": True,
            }
            write_status(directory, WorkerStatus(**{**facts, **otherwise}))

        yield write


def test_each_slot_has_a_line(worker, status):
    worker()
    assert status() == (
        0,
        [
            "Worker worker-1, process 7: running, polled 0 s ago",
            "Tasks: build, check",
            "    1  build (workflow w, attempt 1) for 1.5 min: body, 40 of 100 (40 %): rows",
            "    2  idle for 2.0 h, 50.0 MB",
            "    3  waiting for 0 s, its executor died",
            "    4  waiting for 0 s, 3 executors died in a row",
        ],
    )
    assert status("--ready")[0] == 0


def test_what_keeps_it_from_being_ready_is_told(worker, status):
    checks = [Check("store", ok=False, detail="cannot be reached"), Check("engine", ok=True, detail="answered 0 s ago")]
    worker(ready=False, checks=checks, undelivered=2, slots=[], polled_at=None)
    assert status() == (
        0,
        [
            "Worker worker-1, process 7: running, the server has not answered yet",
            "Tasks: build, check",
            "Not ready: store: cannot be reached",
            "Results waiting for the server: 2",
        ],
    )
    assert status("--ready")[0] == 1


def test_where_no_worker_runs_it_says_so(status):
    assert status() == (1, [])


def test_that_no_worker_runs_names_the_workspace_root(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", str(tmp_path / "not-made"))
    (tmp_path / "made").mkdir()
    for options, root in (((), "not-made"), (("--workspace-root", "made"), "made")):
        assert command.main(list(options), standalone_mode=False) == 1
        assert capsys.readouterr().err == f"No worker is running on the workspace root {tmp_path / root}.\n"
