"""`perago start` on a real Conductor: at work, at its end, and what it refuses to start with."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from perago.stores.git import GitStore

sys.path.insert(0, str(Path(__file__).parent))
from start_support import StartedWorker, TaskFlow, wait_for

MODULE = "supervised_bodies"


@pytest.fixture(autouse=True)
def nothing_stays():
    """In the place of conftest's: a session's server is none of a test's."""


@pytest.fixture
def flow(conductor, bodies):
    return TaskFlow(conductor, MODULE)


@pytest.fixture
def start(conductor_server, tmp_path, flow):
    """Makes workers for the flow's domain; they begin when entered."""
    made = []
    repository = GitStore.create(tmp_path / "data.git").path

    def make(*options, modules=(MODULE,), url=None, **variables):
        options = ("--domain", flow.domain, "--repo", str(repository), *options)
        worker = StartedWorker(tmp_path, url or conductor_server.api_url, list(modules), *options, **variables)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.__exit__()


def test_a_free_task_runs_from_start_to_completion_and_the_log_tells_of_it(flow, start):
    with start("-j", "2") as worker:
        worker.wait_ready()
        workflow = flow.start("light.echo", {"text": "over the wire"})
        assert flow.completed(workflow)["result"]["text"] == "over the wire"
        logging_flow = flow.start("light.log", {"text": "halfway"})
        flow.completed(logging_flow)
        task_id = flow.task(logging_flow)["taskId"]
        wait_for(lambda: "progress 5 of 10" in _task_log(flow, task_id), "the task's log")
        assert "counted rows=3" in _task_log(flow, task_id)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    done = [line for line in worker.lines() if line.get("workflow") == workflow and line.get("status") == "COMPLETED"]
    assert done
    assert {"task", "attempt", "phase", "task_id", "execution", "worker"} <= done[0].keys()
    assert (done[0]["task"], done[0]["attempt"]) == ("light.echo", 0)
    assert any(line["message"] == "counted rows=3" and line["phase"] == "body" for line in worker.lines())
    assert all("hunter2" not in path.read_text() for path in worker.logs.iterdir())


def _task_log(flow, task_id):
    return "\n".join(entry["log"] for entry in flow.api.expect("GET", f"/tasks/{task_id}/log") or [])
