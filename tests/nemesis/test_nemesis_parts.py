"""What the nemesis aims at, what it measures, and that it would see a secret."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import nemesis_hook
import nemesis_workflows
import pytest
from nemesis_cells import PHASES, Cell, Tally, kill_cells, proxy_cells, stop_cells
from nemesis_recovery import Blow, percentile, recoveries
from nemesis_run import Nemesis, Scale
from nemesis_workflows import PATIENCE_SECONDS, RETRIES, Workflows

from leaks import secrets_in_files, secrets_in_values, told_by
from perago.ports import Phase

HERE = Path(__file__).parent


def test_every_phase_is_aimed_at_on_both_sides():
    aimed = {(cell.fault, cell.column) for cell in kill_cells()}
    assert set(PHASES) == set(Phase)
    assert all((f"kill supervisor {side}", phase) in aimed for side in ("before", "after") for phase in Phase)
    assert {cell.column for cell in stop_cells()} == set(Phase)


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


def test_percentiles():
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([float(number) for number in range(1, 101)], 0.99) == 99.0
    assert math.isnan(percentile([], 0.5))


@pytest.fixture
def workflows(monkeypatch):
    """On a server that says what a test wants to hear."""
    monkeypatch.setattr(nemesis_workflows, "load_module_tasks", lambda _: [])
    api = Mock()
    api.start_workflow.side_effect = ["w1", "w2"]
    return Workflows(api, Mock(), ["b"], random.Random(1), "hunter2")


FAILED = {
    "workflowId": "w1",
    "status": "FAILED",
    "tasks": [{"referenceTaskName": "prepare", "retryCount": RETRIES, "status": "FAILED"}],
}


@pytest.mark.parametrize("calm", [False, True])
def test_what_ran_out_of_tries_is_retried_while_there_are_faults_and_not_in_the_calm(workflows, calm):
    workflows.begin("b", calm=calm)
    workflows.api.workflow.return_value = FAILED
    workflows.look("b", meddle=False)
    assert workflows.api.retry.called is not calm
    assert workflows.all_ended == ([FAILED] if calm else [])
    assert workflows.branches["b"].calm == ({"w1"} if calm else set())


def test_the_person_terminates_what_is_young_and_leaves_what_may_hang(workflows):
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "status": "TERMINATED"}
    workflows._began["w1"] -= PATIENCE_SECONDS
    workflows.terminate_one()
    assert not workflows.api.terminate.called
    workflows._began["w1"] += PATIENCE_SECONDS
    workflows.terminate_one()
    workflows.api.terminate.assert_called_once_with("w1")


@pytest.mark.parametrize("chance", [0.0, 0.9])
def test_what_is_begun_anew_counts_as_terminated_no_more(workflows, monkeypatch, chance):
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "status": "TERMINATED"}
    monkeypatch.setattr(workflows._chance, "random", lambda: chance)
    workflows.terminate_one()
    assert workflows.branches["b"].terminated == (set() if chance < 0.5 else {"w1"})
    assert workflows.branches["b"].meddled == {"w1"}


def test_of_what_does_not_end_the_tries_are_told(workflows):
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "status": "RUNNING"}
    told = workflows.told_of_running()
    assert "w1 is RUNNING" in told
    assert "referenceTaskName prepare, status FAILED" in told


def test_the_journal_tells_of_orders_that_were_obeyed_and_of_stale_attempts(workflows, tmp_path):
    scale = Scale(seconds=1, most_seconds=1, workflows=1, least=1)
    nemesis = Nemesis(workflows, [], (None, None), [], tmp_path, scale, random.Random(1), [])
    cell = Cell("kill executor before", "body")
    nemesis._give_order(cell, "started", "kill-executor")
    nemesis_hook.note(tmp_path, order="body.started.kill-executor.1", supervisor=1, task="t1")
    nemesis_hook.note(tmp_path, event="fence.failed", error="StaleAttemptError", task="t2", execution="e2")
    nemesis_hook.note(tmp_path, event="fence.failed", error="StoreError", task="t3", execution="e3")
    nemesis._read_journal()
    assert nemesis.kills.counts == {cell: 1}
    assert nemesis.done == {"kill executors": 1, "stale at their fence": 1}
    assert [blow.tasks for blow in nemesis.blows] == [("t1",)]


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


def test_an_order_is_obeyed_once_by_whoever_comes_first(tmp_path, monkeypatch):
    killed = []
    monkeypatch.setenv(nemesis_hook.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(nemesis_hook.SUPERVISOR_VARIABLE, "4711")
    monkeypatch.setattr("os.kill", lambda pid, number: killed.append(pid))
    orders = tmp_path / nemesis_hook.ORDERS
    orders.mkdir()
    (orders / "publish.started.kill-supervisor.2").touch()
    for boundary in (("publish", "completed"), ("publish", "started"), ("publish", "started")):
        nemesis_hook.boundary(*boundary, task="t1")
    assert killed == [4711]
    journal = [json.loads(line) for line in (tmp_path / nemesis_hook.JOURNAL).read_text().splitlines()]
    assert [entry.get("order") for entry in journal].count("publish.started.kill-supervisor.2") == 1
    assert [entry["event"] for entry in journal if "event" in entry] == [
        "publish.completed",
        "publish.started",
        "publish.started",
    ]


@pytest.mark.parametrize("deed", ["kill-executor", "stop-host"])
def test_an_order_strikes_whom_it_names(tmp_path, monkeypatch, deed):
    struck = []
    monkeypatch.setenv(nemesis_hook.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(nemesis_hook.SUPERVISOR_VARIABLE, "4711")
    monkeypatch.setattr("os.kill", lambda pid, number: struck.append(pid))
    monkeypatch.setattr("os.getpid", lambda: 42)
    (tmp_path / nemesis_hook.ORDERS).mkdir()
    (tmp_path / nemesis_hook.ORDERS / f"body.started.{deed}.1").touch()
    nemesis_hook.boundary("body", "started")
    assert struck == ([42] if deed == "kill-executor" else [4711, 42])


CHECK = """
import nemesis_hook, nemesis_tasks
from perago.ports import Event, Phase
from perago.worker.phase_sender import PhaseSender

class Outbox:
    def send(self, message, **options): pass

event = Event(phase=Phase.BODY, kind="started", execution_id="e", task_id="t")
PhaseSender(Outbox())(event)
"""


def test_executors_come_to_their_boundaries(tmp_path, monkeypatch):
    """What the tasks' module hooks into is still there, without any server."""
    (tmp_path / nemesis_hook.ORDERS).mkdir()
    monkeypatch.setenv(nemesis_hook.DIRECTORY_VARIABLE, str(tmp_path))
    path = os.pathsep.join([str(HERE), str(HERE / "modules")])
    subprocess.run([sys.executable, "-c", CHECK], env={**os.environ, "PYTHONPATH": path}, check=True, timeout=120)
    assert '"event": "body.started"' in (tmp_path / nemesis_hook.JOURNAL).read_text()


def test_supervisors_start_with_their_hooks():
    done = subprocess.run(
        [sys.executable, str(HERE / "program_host.py"), "start", "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
