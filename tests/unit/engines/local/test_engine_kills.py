"""Runs whose process is killed for real, at any moment."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from forks import fork
from perago.engines.local import LocalEngine
from perago.errors import EngineError, RunBusyError
from waiting import wait_for

SECONDS = 30

WORKER = """
import os
import sys
from pathlib import Path
from perago.engines.local import LocalEngine
from perago.values.models import RuntimeTaskResult

engine = LocalEngine(Path(sys.argv[1]), keep=int(sys.argv[2]))
done = RuntimeTaskResult("COMPLETED", {"workspace": {"ref": "b" * 40}, "result": {"text": "x" * 5000}})
failed = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")


def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())  # whole lines, or none


while True:
    with engine.start_run(target="t", task_name="t", input_data={"params": {"text": "y" * 5000}}) as run:
        say("started", run.run_id)
        engine.report_result(run.attempt, failed)
        say("failed", run.run_id)
        run.next_try("another")
        say("again", run.run_id)
        engine.report_result(run.attempt, done)
        say("completed", run.run_id)
"""
SAID = {"started": 1, "failed": 1, "again": 2, "completed": 2}


def killed_worker(directory, after_seconds, keep=1000):
    """Run the worker, kill it some time after its first word; what it said of each run, last."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory), str(keep)], stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    time.sleep(after_seconds)
    process.kill()
    rest = process.communicate(timeout=SECONDS)[0]
    lines = [line.split() for line in (first + rest).splitlines()]
    assert all(len(words) == 2 for words in lines), lines
    return {run_id: word for word, run_id in lines}


@pytest.mark.property
def test_records_survive_a_kill_at_any_moment(tmp_path):
    directory = tmp_path / "runs"
    seed = random.randrange(1 << 32)
    pauses = random.Random(seed)
    said = {}
    for _ in range(25):
        said |= killed_worker(directory, pauses.uniform(0, 0.06))
    engine = LocalEngine(directory)
    listed = {summary.run_id: summary for summary in engine.runs()}
    assert "unreadable" not in {summary.status for summary in listed.values()}, seed
    assert "running" not in {summary.status for summary in listed.values()}, seed
    for run_id, word in said.items():
        assert listed[run_id].tries >= SAID[word], (seed, word)
        assert (listed[run_id].status == "COMPLETED") or word != "completed", (seed, word)
    for summary in listed.values():
        if summary.status == "COMPLETED":
            assert summary.output_ref == "b" * 40
            with pytest.raises(EngineError, match="COMPLETED"):
                engine.resume_run(summary.run_id)
        else:
            with engine.resume_run(summary.run_id) as run:
                assert run.attempt.retry_count == summary.tries
                before = run.record.tries[-2]
                assert before.status == "FAILED"
                assert (before.reason == "its process died") is (summary.status == "killed")
    mend(engine)
    assert leftovers(directory) == []


def test_directories_that_are_pruned_survive_a_kill_too(tmp_path):
    directory = tmp_path / "runs"
    for number in range(12):
        killed_worker(directory, number * 0.007, keep=2)
    engine = LocalEngine(directory)
    assert "unreadable" not in {summary.status for summary in engine.runs()}
    LocalEngine(directory, keep=2).start_run(target="t", task_name="t", input_data={"params": {}}).close()
    assert len(list(engine.runs())) <= 3  # the run that trims stays, wherever its name sorts within its second
    mend(engine)
    assert leftovers(directory) == []


def mend(engine):
    """What `perago doctor --fix` does."""
    for finding in engine.examine():
        if finding.mend is not None:
            finding.mend()


def leftovers(directory):
    return [str(path) for path in directory.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


def hold_a_run_and_leave_a_fork(engine, alive):
    """In a process of its own: have a run, fork, and wait; the fork touches the run, tells of itself, and waits."""
    run = engine.start_run(target="t", task_name="t", input_data={"params": {}})
    if not fork():
        run.cancel()  # a fork has nothing to say: the record stays as it is
        run.close()
        os.write(alive, f"{run.run_id} {os.getpid()}".encode())
    signal.pause()


def test_a_fork_that_outlives_its_process_does_not_keep_the_run_busy(tmp_path):
    engine = LocalEngine(tmp_path / "runs")
    ready, alive = os.pipe()
    parent = fork()
    if not parent:
        try:
            hold_a_run_and_leave_a_fork(engine, alive)
        finally:
            os._exit(1)
    os.close(alive)
    run_id, survivor = os.read(ready, 100).decode().split()
    os.close(ready)
    try:
        (summary,) = engine.runs()
        assert (summary.status, summary.tries) == ("running", 1)
        with pytest.raises(RunBusyError):
            engine.resume_run(run_id)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        parent = None
        os.kill(int(survivor), 0)
        wait_for(lambda: next(engine.runs()).status == "killed")
        with engine.resume_run(run_id) as run:
            assert run.record.tries[0].reason == "its process died"
    finally:
        os.kill(int(survivor), signal.SIGKILL)
        if parent is not None:
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)


RACER = """
import sys
from pathlib import Path
from perago.engines.local import LocalEngine
from perago.errors import RunBusyError

sys.stdin.readline()
try:
    run = LocalEngine(Path(sys.argv[1])).resume_run(sys.argv[2])
except RunBusyError:
    print("busy", flush=True)
else:
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_of_many_processes_that_resume_a_run_at_once_one_gets_it(tmp_path):
    engine = LocalEngine(tmp_path / "runs")
    with engine.start_run(target="t", task_name="t", input_data={"params": {}}) as run:
        pass
    command = [sys.executable, "-c", RACER, str(tmp_path / "runs"), run.run_id]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        assert sorted(racer.stdout.readline().strip() for racer in racers) == ["busy", "busy", "busy", "mine"]
        assert next(engine.runs()).tries == 2
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate(timeout=SECONDS)
