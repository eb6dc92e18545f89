"""What the nemesis aims at, what it measures, and that it would see a secret."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from http.client import RemoteDisconnected
from pathlib import Path
from unittest.mock import Mock

import nemesis_hook
import nemesis_workflows
import psutil
import pytest
from nemesis_cells import BOUNDARIES, PHASES, TAKE, Cell, Tally, kill_cells, proxy_cells, stop_cells
from nemesis_host import left_in
from nemesis_recovery import Blow, percentile, recoveries
from nemesis_run import Nemesis, Scale
from nemesis_workflows import MOST_RETRIES, PATIENCE_SECONDS, RETRIES, Workflows, notes, steps

from leaks import secrets_in_files, secrets_in_values, secrets_on_command_lines, told_by
from perago.ports import Phase
from perago.workspace.owner import OwnerMarker
from servers.json_api import Answer, ApiError

HERE = Path(__file__).parent


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


def test_what_ran_out_of_tries_beside_what_was_refused_is_not_retried(workflows):
    refused = "1 of the paths that this attempt changed were changed by others since its input: 'note-2.txt'. Nothing"
    note = {"referenceTaskName": "note_2", "status": "FAILED_WITH_TERMINAL_ERROR", "reasonForIncompletion": refused}
    cut_short = {"referenceTaskName": "note_1", "status": "CANCELED", "retryCount": RETRIES}
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "tasks": [note, cut_short, *FAILED["tasks"]]}
    workflows.look("b", meddle=False)
    assert not workflows.api.retry.called


def test_a_join_that_failed_too_soon_is_retried(workflows):
    join = {"referenceTaskName": "join", "taskType": "JOIN", "status": "FAILED"}
    note = {"referenceTaskName": "note_1", "status": "FAILED", "retryCount": 0}
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "tasks": [note, join]}
    workflows.look("b", meddle=False)
    workflows.api.retry.assert_called_once_with("w1")


@pytest.mark.parametrize("tries", [RETRIES, RETRIES - 1])
@pytest.mark.parametrize("status", ["TIMED_OUT", "CANCELED"])
def test_a_try_that_timed_out_is_retried_also_where_a_late_heartbeat_had_it_cancelled(workflows, status, tries):
    last_try = {"referenceTaskName": "note_5", "status": status, "retryCount": tries}
    workflows.begin("b")
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "TIMED_OUT", "tasks": [last_try]}
    workflows.look("b", meddle=False)
    workflows.api.retry.assert_called_once_with("w1")


def test_a_failure_that_a_worker_told_of_is_judged_and_not_retried_while_it_has_tries_left(workflows):
    failed = {"referenceTaskName": "note_5", "status": "FAILED_WITH_TERMINAL_ERROR", "retryCount": 0}
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "tasks": [failed, CUT_SHORT]}
    workflows.look("b", meddle=False)
    assert not workflows.api.retry.called


CUT_SHORT = {"referenceTaskName": "note_1", "status": "CANCELED", "retryCount": 1}


@pytest.mark.parametrize("calm", [False, True])
def test_what_nobody_ended_is_retried_but_not_in_the_calm(workflows, calm):
    workflows.begin("b", calm=calm)
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "TERMINATED", "tasks": [CUT_SHORT]}
    workflows.look("b", meddle=False)
    assert workflows.api.retry.called is not calm
    assert ("b" in workflows.running) is not calm


def test_what_the_person_ended_is_not_retried_unless_the_person_wants_it(workflows):
    workflows.begin("b")
    workflows._end("w1")
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "TERMINATED", "tasks": [CUT_SHORT]}
    workflows.look("b", meddle=False)
    assert not workflows.api.retry.called
    assert workflows.running == {}


def test_what_ends_again_after_each_retry_is_left_at_last(workflows):
    """A try that Conductor made in the moment in which it ended the workflow is never queued: a retry ends at once."""
    workflows.begin("b")
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "TERMINATED", "tasks": [CUT_SHORT]}
    for _ in range(MOST_RETRIES + 2):
        assert "b" in workflows.running
        workflows.look("b", meddle=False)
    assert "b" not in workflows.running
    assert workflows.api.retry.call_count == MOST_RETRIES
    assert "w1" in workflows.terminated & workflows.meddled
    assert workflows.done["left TERMINATED, as retries ended so too"] == 1


def test_a_retry_that_is_refused_is_looked_at_again(workflows):
    workflows.begin("b")
    workflows.api.retry.side_effect = ApiError("POST /retry", Answer(409, b""))
    workflows.api.workflow.return_value = FAILED
    workflows.look("b", meddle=False)
    assert workflows.running == {"b": "w1"}
    assert workflows.done["retry refused"] == 1


def test_a_look_without_an_answer_is_made_again(workflows):
    workflows.begin("b")
    workflows.api.workflow.side_effect = [RemoteDisconnected("gone"), {**FAILED, "status": "COMPLETED"}]
    workflows.look("b", meddle=False)
    assert workflows.running == {"b": "w1"}
    workflows.look("b", meddle=False)
    assert workflows.running == {}
    assert workflows.done["looks without an answer"] == 1


FORK = {"referenceTaskName": "fork", "taskType": "FORK", "status": "COMPLETED"}
JOIN = {"referenceTaskName": "join", "taskType": "JOIN", "status": "IN_PROGRESS"}
NOTE = {"referenceTaskName": "note_1", "taskType": "SIMPLE", "status": "COMPLETED"}


@pytest.mark.parametrize(
    ("tasks", "is_lost"),
    [
        ([FORK, NOTE], True),
        ([FORK, {**NOTE, "status": "FAILED"}, NOTE], True),
        ([FORK, NOTE, JOIN], False),
        ([FORK, {**NOTE, "status": "SCHEDULED"}], False),
        ([NOTE], False),
    ],
)
@pytest.mark.parametrize("calm", [False, True])
def test_what_lost_its_join_is_ended_but_not_in_the_calm(workflows, tasks, is_lost, calm):
    workflows.begin("b", calm=calm)
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "RUNNING", "tasks": tasks}
    workflows.look("b", meddle=False)
    assert workflows.running == {"b": "w1"}
    assert workflows.api.terminate.called == (is_lost and not calm)
    assert ("w1" in workflows.meddled) == (is_lost and not calm)
    assert not workflows.api.restart.called


def test_in_the_calm_leases_are_longer():
    longer = {"name": "nemesis.note", "responseTimeoutSeconds": 60}
    fork, _join, last = notes({"nemesis.note": longer})
    (first,) = fork["forkTasks"][0]
    assert first["taskDefinition"] == last["taskDefinition"] == longer
    assert last["inputParameters"]["workspace"] == "${note_1.output.workspace}"
    assert all("taskDefinition" not in step for step in steps({}))


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
def test_what_the_person_ended_is_known_whether_it_is_begun_anew_or_not(workflows, monkeypatch, chance):
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "status": "TERMINATED"}
    monkeypatch.setattr(workflows._chance, "random", lambda: chance)
    workflows.terminate_one()
    assert workflows.branches["b"].terminated == {"w1"}
    assert workflows.branches["b"].meddled == {"w1"}


@pytest.mark.parametrize("error", [RemoteDisconnected("gone"), ApiError("DELETE /workflow", Answer(500, b""))])
def test_what_the_person_may_have_ended_counts_as_ended(workflows, error):
    workflows.begin("b")
    workflows.api.terminate.side_effect = workflows.api.workflow.side_effect = error
    workflows.terminate_one()
    assert workflows.branches["b"].terminated == workflows.branches["b"].meddled == {"w1"}


def test_of_what_does_not_end_the_tries_are_told(workflows):
    workflows.begin("b")
    workflows.api.workflow.return_value = {**FAILED, "status": "RUNNING"}
    told = workflows.told_of_running()
    assert "w1 is RUNNING" in told
    assert "referenceTaskName prepare, status FAILED" in told


def test_what_does_not_end_in_time_is_a_fault_and_ended_so_that_all_else_can_be_judged(workflows, tmp_path):
    workflows.begin("b")
    workflows.api.workflow.return_value = endless = {**FAILED, "status": "RUNNING"}
    scale = Scale(seconds=1.0, most_seconds=1.0, workflows=0, least=0)
    nemesis = Nemesis(workflows, [], (Mock(), Mock()), [], tmp_path, scale, random.Random(1), [])
    nemesis.let_finish(0.0)
    (fault,) = nemesis.faults
    assert "w1 is RUNNING" in fault
    workflows.api.terminate.assert_called_once_with("w1")
    assert workflows.running == {}
    assert workflows.all_ended == [endless]
    assert workflows.terminated == {"w1"}


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
