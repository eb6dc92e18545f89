"""Staged work on lakeFS is removed after a kill, of the attempt's executor or of the whole worker."""

from __future__ import annotations

import signal

import psutil
import pytest

from pipeline_support import Pipeline, surroundings
from servers.faults import Delay, Rule
from servers.proxy import FaultProxy
from waiting import wait_for

HELD = Delay(60.0)
"""Longer than the waiting worker lives."""

SOON = {"PERAGO_WORKSPACE_GC_TTL": "10s", "PERAGO_WORKSPACE_GC_INTERVAL": "2s"}
"""Settings to remove staged work of unknown owner soon. Default: after a day."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


@pytest.fixture
def door(lakefs_server):
    """Between workers and lakeFS."""
    with FaultProxy(lakefs_server.url) as proxy:
        yield proxy


@pytest.fixture
def pipeline(conductor, conductor_server, lakefs_server, lakefs_repository, door, tmp_path):
    variables = {**surroundings(conductor_server, lakefs_server), "LAKECTL_SERVER_ENDPOINT_URL": door.url}
    return Pipeline(conductor, lakefs_repository, variables, tmp_path)


def staged(pipeline):
    return pipeline.repository.branches("perago-", hidden=True)


def end_of(pipeline, workflow):
    """How it ended; None: it runs."""
    status = pipeline.api.workflow(workflow)["status"]
    return None if status == "RUNNING" else status


def hold_a_publication(pipeline, door):
    """Start a workflow whose first task has staged its commit, and waits for its merge; returns workflow and branch."""
    held = door.add(Rule(HELD, method="POST", path="/merge/main$"))
    workflow = pipeline.start("main")
    wait_for(lambda: held.fired, "a merge", 60)
    (branch,) = staged(pipeline)
    return workflow, branch


def test_the_next_executor_removes_what_a_killed_one_staged(pipeline, door):
    with pipeline.worker("worker", "-j", "1") as worker:
        worker.wait_ready()
        workflow, _ = hold_a_publication(pipeline, door)
        for process in psutil.Process(worker.pid).children(recursive=True):
            if not process.children():  # not the reaper that it runs under
                process.kill()
        assert pipeline.api.wait_for_end(workflow, 120)["status"] == "COMPLETED"
        wait_for(lambda: staged(pipeline) == [], "the staging branch to go", 60)


def test_a_workflow_that_is_terminated_in_mid_publication_leaves_nothing_staged(pipeline, door):
    """The worker lets a publication come to its end for a while, then ends it, and goes on."""
    before = pipeline.repository.head("main")
    with pipeline.worker("worker", "-j", "1") as worker:
        worker.wait_ready()
        workflow, _ = hold_a_publication(pipeline, door)
        pipeline.api.terminate(workflow)
        wait_for(lambda: staged(pipeline) == [], "the staging branch to go", 90)
        wait_for(lambda: worker.status()["worker"]["slots"][0]["state"] == "idle", "the slot to be free", 60)
        assert pipeline.repository.head("main") == before
        assert pipeline.api.tasks(workflow, "prepare")[-1]["status"] == "CANCELED"
        assert not list(worker.root.glob("*-*/workspace"))
        door.clear()
        assert pipeline.api.wait_for_end(pipeline.start("main"), 120)["status"] == "COMPLETED"


def test_the_next_worker_removes_what_a_killed_one_staged(pipeline, door):
    with pipeline.worker("worker", "-j", "1") as worker:
        worker.wait_ready()
        workflow, branch = hold_a_publication(pipeline, door)
        family = psutil.Process(worker.pid).children(recursive=True)
        worker.signal(signal.SIGKILL)
        worker.wait()
        psutil.wait_procs(family, 30)
    assert staged(pipeline) == [branch]
    with pipeline.worker("worker", "-j", "1", **SOON) as worker:
        worker.wait_ready()
        ended = pipeline.api.wait_while_none(lambda: pipeline.api.decide(workflow) or end_of(pipeline, workflow), 120)
        assert ended == "COMPLETED"
        wait_for(lambda: staged(pipeline) == [], "the staging branch to go", 60)
