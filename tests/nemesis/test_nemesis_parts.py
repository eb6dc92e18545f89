"""What the nemesis aims at, what it measures, and that it would see a secret."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from leaks import secrets_in_files, secrets_in_values, secrets_on_command_lines, told_by
from nemesis import hook
from nemesis.cells import BOUNDARIES, PHASES, TAKE, Cell, Tally, kill_cells, proxy_cells, stop_cells
from nemesis.host import left_in
from nemesis.recovery import Blow, percentile, recoveries
from nemesis.workflows import STANDSTILL_SECONDS, has_lost_what_follows
from perago.ports import Phase
from perago.workspace.owner import OwnerMarker

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE / "modules"), str(HERE.parent / "support")])}


def test_every_phase_is_aimed_at_on_both_sides():
    aimed = {(cell.fault, cell.column) for cell in kill_cells()}
    assert set(PHASES) == set(Phase)
    assert set(BOUNDARIES) == {*Phase, TAKE}
    assert all((f"kill supervisor {side}", phase) in aimed for side in ("before", "after") for phase in BOUNDARIES)
    assert {cell.column for cell in stop_cells()} == set(BOUNDARIES)


def test_the_emptiest_cells_come_first():
    tally = Tally(proxy_cells(["merge", "poll"]), random.Random(1))
    for _ in range(4 * len(tally.cells)):
        tally.counts[tally.emptiest()] += 1
    assert set(tally.counts.values()) == {4}
    assert tally.fewer_than(4) == []
    assert len(tally.fewer_than(5)) == len(tally.cells)
    assert tally.emptiest(tally.cells) is None


def test_the_table_has_a_row_for_each_fault_and_nothing_where_there_is_no_cell():
    tally = Tally([Cell("kill", "body"), Cell("kill", "diff"), Cell("stop", "body")], random.Random(1))
    tally.counts[Cell("kill", "diff")] = 3
    assert tally.table(["body", "diff"])[2:] == ["| kill | 0 | 3 |", "| stop | 0 |  |"]


def task(task_id, status, scheduled, ended, name="build"):
    return {
        "taskId": task_id,
        "referenceTaskName": name,
        "status": status,
        "scheduledTime": 1000 * scheduled,
        "endTime": 1000 * ended,
    }


def test_recovery_is_from_the_last_blow_that_struck_a_task():
    workflow = {"tasks": [task("t0", "TIMED_OUT", 100, 110), task("t1", "COMPLETED", 110, 120)]}
    blows = [Blow("kill", 103.0, ("t0",)), Blow("kill", 112.5, ("t1",)), Blow("kill", 115.0, ("t9",))]
    assert recoveries(blows, [workflow]) == [7.5]
    assert recoveries([*blows, Blow("restart", 118.0, (), everything=True)], [workflow]) == [2.0]
    assert recoveries([Blow("restart", 130.0, (), everything=True)], [workflow]) == []
    assert recoveries(blows, [{"tasks": [task("t0", "FAILED", 100, 110)]}]) == []


def test_a_workflow_that_waits_for_nothing_is_seen_after_a_while():
    long_ago, just_now = time.time() - STANDSTILL_SECONDS - 1, time.time()
    begun = [task("t0", "COMPLETED", 0, long_ago), task("t1", "CANCELED", 0, long_ago)]
    through = [*begun, task("t2", "COMPLETED", 0, long_ago)]
    join = {**task("j", "IN_PROGRESS", 0, 0, "join"), "taskType": "JOIN"}
    assert has_lost_what_follows({"tasks": through})
    assert not has_lost_what_follows({"tasks": [*begun, task("t2", "COMPLETED", 0, just_now)]})
    assert not has_lost_what_follows({"tasks": [*through, task("t3", "SCHEDULED", 0, 0, "next")]})
    assert not has_lost_what_follows({"tasks": [*through, join]})
    assert not has_lost_what_follows({"tasks": begun})
    assert not has_lost_what_follows({"tasks": []})


def test_percentiles():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert math.isnan(percentile([], 0.5))


def test_a_secret_is_found_in_a_file_a_commit_and_a_result(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.jsonl").write_text('{"message": "hunter2"}')
    assert len(list(secrets_in_files(tmp_path, ["hunter2"]))) == 1
    assert list(secrets_in_files(tmp_path, ["other"])) == []
    assert len(list(secrets_in_values("a commit", [{"metadata": {"perago.params": "hunter2"}}], ["hunter2"]))) == 1
    workflow = {"tasks": [{"inputData": {"password": "hunter2"}, "outputData": {"text": "hunter2"}}]}
    assert len(list(secrets_in_values("a task", told_by([workflow]), ["hunter2"]))) == 1
    del workflow["tasks"][0]["outputData"]
    assert list(secrets_in_values("a task", told_by([workflow]), ["hunter2"])) == []


def test_a_secret_on_a_command_line_is_found():
    command = [sys.executable, "-c", "print('up', flush=True); input()", "hunter2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"  # before that it may have no command line yet
        seen = [psutil.Process(process.pid)]
        assert len(list(secrets_on_command_lines(seen, ["hunter2"]))) == 1
        assert list(secrets_on_command_lines(seen, ["other"])) == []
        process.communicate(b"\n")
    assert list(secrets_on_command_lines(seen, ["hunter2"])) == [], "it has gone"


def test_a_directory_that_names_nobody_yet_goes_in_time_and_all_else_is_left(tmp_path):
    for name in ("supervisor", f".new-{1:032x}", f".new-{2:032x}", "task-e1", "other"):
        (tmp_path / name / "workspace").mkdir(parents=True)
    (tmp_path / f".new-{1:032x}" / ".owner.json.e18b152c753ebfeb").touch()  # as an hour's run left it
    marker = OwnerMarker.of_this_process(worker_id="w", task_id="t", execution_id="e", now=datetime.now(UTC))
    for name, owner in ((f".new-{2:032x}", marker), ("task-e1", replace(marker, pid=2**22 + 1))):
        owner.write(tmp_path / name / "owner.json")
    assert sorted(path.name for path in left_in(tmp_path)) == [f".new-{2:032x}", "other", "task-e1"]
    assert not (tmp_path / f".new-{1:032x}").exists()


def test_an_order_is_obeyed_once_by_whoever_comes_first(tmp_path, monkeypatch):
    killed = []
    monkeypatch.setenv(hook.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(hook.SUPERVISOR_VARIABLE, "4711")
    monkeypatch.setattr("os.kill", lambda pid, number: killed.append(pid))
    orders = tmp_path / hook.ORDERS
    orders.mkdir()
    (orders / "publish.started.kill-supervisor.2").touch()
    for boundary in (("publish", "completed"), ("publish", "started"), ("publish", "started")):
        hook.boundary(*boundary, task="t1")
    assert killed == [4711]
    journal = [json.loads(line) for line in (tmp_path / hook.JOURNAL).read_text().splitlines()]
    assert [entry.get("order") for entry in journal].count("publish.started.kill-supervisor.2") == 1
    assert [entry["event"] for entry in journal if "event" in entry] == [
        "publish.completed",
        "publish.started",
        "publish.started",
    ]


@pytest.mark.parametrize("deed", ["kill-executor", "stop-host"])
def test_an_order_strikes_whom_it_names(tmp_path, monkeypatch, deed):
    struck = []
    monkeypatch.setenv(hook.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(hook.SUPERVISOR_VARIABLE, "4711")
    monkeypatch.setattr("os.kill", lambda pid, number: struck.append(pid))
    monkeypatch.setattr("os.getpid", lambda: 42)
    (tmp_path / hook.ORDERS).mkdir()
    (tmp_path / hook.ORDERS / f"body.started.{deed}.1").touch()
    hook.boundary("body", "started")
    assert struck == ([42] if deed == "kill-executor" else [4711, 42])


CHECK = """
import nemesis_tasks
from nemesis import hook
from perago.ports import Event, Phase
from perago.worker.executor.link import PhaseSender

class Outbox:
    def send(self, message, **options): pass

event = Event(phase=Phase.BODY, kind="started", execution_id="e", task_id="t")
PhaseSender(Outbox())(event)
"""


def test_executors_come_to_their_boundaries(tmp_path, monkeypatch):
    """What the tasks' module hooks into is still there, without any server."""
    (tmp_path / hook.ORDERS).mkdir()
    monkeypatch.setenv(hook.DIRECTORY_VARIABLE, str(tmp_path))
    subprocess.run(
        [sys.executable, "-c", CHECK],
        env={**os.environ, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]},
        check=True,
        timeout=120,
    )
    assert '"event": "body.started"' in (tmp_path / hook.JOURNAL).read_text()


def test_supervisors_start_with_their_hooks():
    done = subprocess.run(
        [sys.executable, str(HERE / "program_host.py"), "start", "--help"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
