"""`perago start` on a real Conductor, again after SIGKILL: what the killed worker held is not left to its lease."""

from __future__ import annotations

import signal

import psutil
import pytest

from start_support import in_body, lives, store_of, workspace_of
from waiting import wait_for

SECONDS = 120.0
"""For a task to complete that would wait for its response timeout else, which is 600 s."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_free_task_of_a_killed_worker_goes_on_when_it_comes_back(flow, start, tmp_path, mode):
    worker = start("--execution-mode", mode)
    with worker:
        worker.wait_ready()
        workflow = flow.start("light.wait_for_a_file", {"path": str(tmp_path / "go")})
        flow.wait_status(workflow, "IN_PROGRESS")
        wait_for(lambda: in_body(worker, flow.task(workflow)["taskId"]), "the body")
        worker.signal(signal.SIGKILL)
        worker.wait()
    (tmp_path / "go").touch()
    with worker:
        assert flow.completed(workflow, SECONDS)["result"]["text"] == "done"
    only = flow.api.tasks(workflow, "only")
    assert [(task["retryCount"], task["pollCount"]) for task in only] == [(0, 2)]
    told = [line for line in worker.lines() if line.get("workflow") == workflow and "given back" in line["message"]]
    assert [line["task_id"] for line in told] == [only[0]["taskId"]]


def test_a_workspace_task_of_a_killed_worker_publishes_once(flow, start):
    worker = start()
    with worker:
        worker.wait_ready()
        workflow = flow.start("space.append", {"text": "once", "seconds": 3}, workspace=workspace_of(worker))
        flow.wait_status(workflow, "IN_PROGRESS")
        wait_for(lambda: in_body(worker, flow.task(workflow)["taskId"]), "the body")
        family = psutil.Process(worker.pid).children(recursive=True)
        executors = [process for process in family if not process.children()]
        worker.signal(signal.SIGKILL)
        worker.wait()
    with worker:
        wait_for(lambda: flow.task(workflow)["pollCount"] == 2, "it to be taken again", SECONDS)
        assert not any(map(lives, executors))
        output = flow.completed(workflow, SECONDS)
    assert [task["pollCount"] for task in flow.api.tasks(workflow, "only")] == [2]
    store, head = store_of(worker), output["workspace"]["ref"]
    assert store.branch_head("main") == head
    assert [entry.stamp.task_id for entry in store.log(head, 10) if entry.stamp] == [flow.task(workflow)["taskId"]]


def test_what_ended_under_a_killed_worker_is_left_alone(flow, start, tmp_path):
    worker = start("-j", "2")
    with worker:
        worker.wait_ready()
        params = {"path": str(tmp_path / "go")}
        ended, terminated = (flow.start("light.wait_for_a_file", params) for _ in range(2))
        for workflow in (ended, terminated):
            flow.wait_status(workflow, "IN_PROGRESS")
            wait_for(lambda: in_body(worker, flow.task(workflow)["taskId"]), "the body")  # noqa: B023 - called at once
        worker.signal(signal.SIGKILL)
        worker.wait()
    flow.api.update(flow.task(ended), "COMPLETED", outputData={"result": {}})
    flow.api.terminate(terminated)
    with worker:
        worker.wait_ready()
        wait_for(lambda: sum("not given back" in line["message"] for line in worker.lines()) == 2, "it to look")
    assert flow.task(ended)["pollCount"] == flow.task(terminated)["pollCount"] == 1
    assert flow.api.workflow(ended)["status"] == "COMPLETED"
