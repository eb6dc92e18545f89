"""What is judged after a person has ended workflows under the nemesis."""

from __future__ import annotations

import random
import time
from http.client import RemoteDisconnected
from unittest.mock import Mock

import pytest

from nemesis import workflows as nemesis_workflows
from nemesis.run import Nemesis, Scale
from nemesis.workflows import RETRIES, Workflows
from servers.json_api import Answer, ApiError

FAILED = {
    "workflowId": "w1",
    "status": "FAILED",
    "tasks": [{"referenceTaskName": "prepare", "retryCount": RETRIES, "status": "FAILED"}],
}


@pytest.fixture
def workflows(monkeypatch):
    """On a server that says what a test wants to hear."""
    monkeypatch.setattr(nemesis_workflows, "load_module_tasks", lambda _: [])
    api = Mock()
    api.start_workflow.side_effect = ["w1", "w2"]
    return Workflows(api, Mock(), Mock(), ["b"], random.Random(1), "hunter2")


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


@pytest.mark.parametrize(("queued", "age", "ends"), [(0, 140, True), (1, 140, False), (0, 120, False)])
def test_a_try_that_is_in_no_queue_is_left_to_the_person(workflows, monkeypatch, queued, age, ends):
    workflows.begin("b")
    waits = {"referenceTaskName": "build", "status": "SCHEDULED", "taskDefName": "build", "domain": workflows.domain}
    found = {**FAILED, "status": "RUNNING", "tasks": [{**waits, "scheduledTime": 1000 * time.time()}]}
    workflows.api.workflow.return_value = found
    workflows.api.queue_size.return_value = queued
    began, wall = time.monotonic(), time.time()
    monkeypatch.setattr(time, "monotonic", lambda: began + age)
    monkeypatch.setattr(time, "time", lambda: wall + age)
    workflows.look("b", meddle=False)
    assert workflows.terminated == ({"w1"} if ends else set())


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
