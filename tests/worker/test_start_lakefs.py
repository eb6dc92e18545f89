"""`perago register` and `perago start` on a real Conductor and a real lakeFS."""

from __future__ import annotations

import signal

import pytest

from pipeline_support import Pipeline, surroundings
from servers.fixtures import repository_on


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.mark.quick
def test_a_workflow_of_three_from_register_to_the_published_commit(
    conductor, conductor_server, lakefs_server, lakefs_repository, tmp_path
):
    pipeline = Pipeline(conductor, lakefs_repository, surroundings(conductor_server, lakefs_server), tmp_path)
    with pipeline.worker("worker", "-j", "2") as worker:
        worker.wait_ready()
        workflow = pipeline.start("main", fail_first=True)
        found = pipeline.api.wait_for_end(workflow, 120)
        assert found["status"] == "COMPLETED"
        tries = [(task["referenceTaskName"], task["status"]) for task in found["tasks"]]
        assert tries == [
            ("prepare", "FAILED"),
            ("prepare", "COMPLETED"),
            ("count", "COMPLETED"),
            ("finish", "COMPLETED"),
        ]
        prepared, counted, finished = (task["outputData"] for task in found["tasks"][1:])
        assert counted["workspace"] == prepared["workspace"]
        assert counted["result"] == {"lines": 1}
        assert finished["workspace"]["ref"] == pipeline.repository.head("main")
        files = pipeline.repository.files("main")
        assert files["prepared.txt"] == files["finished.txt"] == f"{workflow}\n".encode()
        assert pipeline.repository.branches("perago-", hidden=True) == []
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    (unfinished,) = tmp_path.rglob("objects-*/partial")
    assert list(unfinished.iterdir()) == []
    assert lakefs_server.secret_access_key not in worker.told()
    assert all(lakefs_server.secret_access_key not in path.read_text() for path in worker.logs.iterdir())


def test_what_cooperative_publications_do_not_guarantee_is_said_of_each(
    conductor, conductor_server, lakefs_without_actions, tmp_path
):
    with repository_on(lakefs_without_actions) as repository:
        variables = surroundings(conductor_server, lakefs_without_actions)
        pipeline = Pipeline(conductor, repository, variables, tmp_path)
        with pipeline.worker("worker", PERAGO_FENCE="cooperative") as worker:
            worker.wait_ready()
            found = pipeline.api.wait_for_end(pipeline.start("main"), 120)
            assert found["status"] == "COMPLETED"
            worker.signal(signal.SIGTERM)  # what is still to be told is told before it ends
            assert worker.wait() == 0
        published = [task for task in found["tasks"] if task["referenceTaskName"] != "count"]
        warned = [line for line in worker.lines() if "not guaranteed" in line["message"]]
        assert {line["level"] for line in warned} == {"WARNING"}
        assert [(line["task_id"], line["ref"]) for line in warned] == [
            (task["taskId"], task["outputData"]["workspace"]["ref"]) for task in published
        ]
        for task in published:
            logged = pipeline.api.expect("GET", f"/tasks/{task['taskId']}/log")
            assert len([entry for entry in logged if "not guaranteed" in entry["log"]]) == 1
