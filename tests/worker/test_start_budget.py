"""A worker whose merge takes longer than the task's PublishBudget, on a real Conductor and a real lakeFS."""

from __future__ import annotations

import signal

import pytest

from pipeline_support import surroundings
from servers.faults import Delay, Rule
from servers.proxy import FaultProxy
from start_support import MODULES, StartedWorker, TaskFlow
from waiting import wait_for

LATE = 8.0
"""Seconds after which the delayed merge arrives; the budget gives it two."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """Replaces conftest's fixture, because the session's servers outlive a test."""


def test_a_merge_beyond_the_budget_fails_its_try_and_the_next_one_publishes_once(
    conductor, conductor_server, lakefs_server, lakefs_repository, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(str(MODULES))
    before = lakefs_repository.commit_files("main", {"readme.txt": b"data"})
    flow = TaskFlow(conductor, "budget_tasks")
    workspace = {"repository": lakefs_repository.name, "branch": "main", "refType": "commit", "ref": before}
    with FaultProxy(lakefs_server.url) as proxy:
        late = proxy.add(Rule(Delay(LATE), method="POST", path="/merge/main"))
        variables = surroundings(conductor_server, lakefs_server) | {"LAKECTL_SERVER_ENDPOINT_URL": proxy.url}
        url = variables.pop("CONDUCTOR_SERVER_URL")
        with StartedWorker(tmp_path / "worker", url, ["budget_tasks"], "--domain", flow.domain, **variables) as worker:
            worker.wait_ready()
            workflow = flow.start("budget.write", {"text": "published"}, workspace=workspace)
            output = flow.completed(workflow, 120)
            *failed, completed = conductor.tasks(workflow, "only")
            assert late.fired == 1
            assert completed["status"] == "COMPLETED"
            assert failed[0]["status"] == "FAILED"
            assert "'main' was not moved in 1 tries, within 2 s" in failed[0]["reasonForIncompletion"]
            assert "publish_timeout_seconds in the task's PublishBudget" in failed[0]["reasonForIncompletion"]
            assert not failed[0].get("outputData")
            wait_for(lambda: merges(proxy) >= 2, "the late merge to arrive too", 60)
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
    line = lakefs_repository.log("main", stop_at=before)
    assert output["workspace"]["ref"] in [commit["id"] for commit in line]
    assert len({commit["meta_range_id"] for commit in line}) == 2, "published once, by whichever merge came first"
    assert lakefs_repository.files("main", "written")["written.txt"] == b"published"
    assert lakefs_repository.branches("perago-", hidden=True) == []


def merges(proxy):
    """How many merges into the target the server was asked for."""
    return sum("/merge/main" in seen.target for seen in proxy.seen())
