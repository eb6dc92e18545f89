"""What the person under the nemesis does, and what is left to be judged."""

from __future__ import annotations

import random
import time
from http.client import RemoteDisconnected
from unittest.mock import Mock

import nemesis_workflows
import pytest
from nemesis_run import Nemesis, Scale
from nemesis_workflows import MOST_RETRIES, PATIENCE_SECONDS, RETRIES, STANDSTILL_SECONDS, Workflows, notes, steps

from servers.json_api import Answer, ApiError

FAILED = {
    "workflowId": "w1",
    "status": "FAILED",
    "tasks": [{"referenceTaskName": "prepare", "retryCount": RETRIES, "status": "FAILED"}],
}
CUT_SHORT = {"referenceTaskName": "note_1", "status": "CANCELED", "retryCount": 1}
FORK = {"referenceTaskName": "fork", "taskType": "FORK", "status": "COMPLETED"}
JOIN = {"referenceTaskName": "join", "taskType": "JOIN", "status": "IN_PROGRESS"}
NOTE = {"referenceTaskName": "note_1", "taskType": "SIMPLE", "status": "COMPLETED"}


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


@pytest.mark.parametrize(
    ("note", "join", "seconds", "stands_still"),
    [
        ("COMPLETED", "IN_PROGRESS", STANDSTILL_SECONDS + 5, True),
        ("COMPLETED", "IN_PROGRESS", STANDSTILL_SECONDS - 60, False),
        ("COMPLETED", "COMPLETED", STANDSTILL_SECONDS + 5, False),
        ("IN_PROGRESS", "IN_PROGRESS", STANDSTILL_SECONDS + 5, False),
    ],
)
@pytest.mark.parametrize("calm", [False, True])
def test_a_join_at_a_standstill_is_completed_but_not_in_the_calm(workflows, note, join, seconds, stands_still, calm):
    workflows.begin("b", calm=calm)
    looked_at = {**JOIN, "status": join, "updateTime": 1000 * (time.time() - seconds)}
    tasks = [FORK, {**NOTE, "status": "TIMED_OUT"}, {**NOTE, "status": note}, looked_at]
    workflows.api.workflow.return_value = {"workflowId": "w1", "status": "RUNNING", "tasks": tasks}
    workflows.api.update.side_effect = [Answer(409, b""), Answer(200, b"")]
    workflows.look("b", meddle=False)
    assert workflows.done["join completed by hand"] == 0
    if stands_still and not calm:
        workflows.look("b", meddle=False)
        workflows.api.update.assert_called_with(looked_at, "COMPLETED", outputData={})
        assert workflows.done["join completed by hand"] == 1
    assert workflows.api.update.called == (stands_still and not calm)
    assert workflows.running == {"b": "w1"}
    assert workflows.meddled == set()


def test_in_the_calm_leases_are_longer():
    longer = {"name": "nemesis.note", "responseTimeoutSeconds": 60}
    fork, _join, last = notes({"nemesis.note": longer})
    (first,) = fork["forkTasks"][0]
    assert first["taskDefinition"] == last["taskDefinition"] == longer
    assert last["inputParameters"]["workspace"] == "${note_1.output.workspace}"
    assert all("taskDefinition" not in step for step in steps({}))


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
