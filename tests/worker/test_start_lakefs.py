"""`perago register` and `perago start` on a real Conductor and a real lakeFS; workers are killed in the middle."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from servers.conductor_api import fresh, simple

sys.path.insert(0, str(Path(__file__).parent))
from start_support import MODULES, StartedWorker, wait_for

MODULE = "pipeline_tasks"
TASKS = ("pipe.prepare", "pipe.count", "pipe.finish")
ROUNDS = int(os.environ.get("PERAGO_TEST_NEMESIS_WORKFLOWS", "8"))
"""Workflows under the nemesis; 60 and more by hand."""


@pytest.fixture(autouse=True)
def nothing_stays():
    """In the place of conftest's: a session's server is none of a test's."""


@pytest.fixture
def surroundings(conductor_server, lakefs_server):
    """The variables that name both servers."""
    return {
        "CONDUCTOR_SERVER_URL": conductor_server.api_url,
        "LAKECTL_SERVER_ENDPOINT_URL": lakefs_server.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": lakefs_server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": lakefs_server.secret_access_key,
    }


class Pipeline:
    """The workflow of three, on branches of one repository."""

    def __init__(self, api, repository):
        self.api, self.repository = api, repository
        self.domain = fresh("domain")
        self.name = api.define_workflow(
            fresh("pipeline"),
            [
                simple("pipe.prepare", "prepare", self._inputs("${workflow.input.workspace}")),
                simple("pipe.count", "count", self._inputs("${prepare.output.workspace}")),
                simple("pipe.finish", "finish", self._inputs("${prepare.output.workspace}")),
            ],
        )

    def _inputs(self, workspace):
        params = {"text": "${workflow.workflowId}", "fail_first": "${workflow.input.fail_first}"}
        return {"workspace": workspace, "params": params}

    def start(self, branch, *, fail_first=False):
        ref = self.repository.head(branch)
        workspace = {"repository": self.repository.name, "branch": branch, "refType": "commit", "ref": ref}
        domains = dict.fromkeys(TASKS, self.domain)
        inputs = {"workspace": workspace, "fail_first": fail_first}
        return self.api.start_workflow(self.name, inputs, taskToDomain=domains)


@pytest.fixture
def pipeline(conductor, lakefs_repository, surroundings, tmp_path):
    environment = {**os.environ, **surroundings, "PYTHONPATH": str(MODULES)}
    command = [sys.executable, "-m", "perago", "register", MODULE]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    lakefs_repository.commit_files("main", {"readme.txt": b"data"})
    return Pipeline(conductor, lakefs_repository)


@pytest.fixture
def start(pipeline, surroundings, tmp_path):
    made = []

    def make(name, *options):
        variables = {**surroundings, "PERAGO_CACHE_DIR": str(tmp_path / "cache")}
        url = variables.pop("CONDUCTOR_SERVER_URL")
        worker = StartedWorker(tmp_path / name, url, [MODULE], "--domain", pipeline.domain, *options, **variables)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.__exit__()


def test_a_workflow_of_three_from_register_to_the_published_commit(pipeline, start, lakefs_server):
    with start("worker", "-j", "2") as worker:
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
    assert lakefs_server.secret_access_key not in worker.told()
    assert all(lakefs_server.secret_access_key not in path.read_text() for path in worker.logs.iterdir())


def test_workflows_complete_while_executors_and_supervisors_are_killed(pipeline, start):
    """Nothing lost, nothing twice, nothing orphaned."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    branches = [f"b{number}" for number in range(max(2, ROUNDS // 3))]
    for branch in branches:
        pipeline.repository.branch(branch, "main")
    workers = [start(f"worker-{number}", "-j", "2") for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.wait_ready()
    waiting = {branch: ROUNDS // len(branches) for branch in branches}
    running, ended, kills = {}, [], 0
    deadline = time.monotonic() + 60 + 15 * ROUNDS
    while waiting or running:
        assert time.monotonic() < deadline, f"seed {seed}: {waiting} wait, {running} run"
        for branch in [branch for branch in waiting if branch not in running]:
            running[branch] = pipeline.start(branch)
            waiting[branch] -= 1
            if not waiting[branch]:
                del waiting[branch]
        for branch, workflow in list(running.items()):
            pipeline.api.decide(workflow)
            found = pipeline.api.workflow(workflow)
            if found["status"] != "RUNNING":
                ended.append((branch, found))
                del running[branch]
        if chance.random() < 0.25 and kills < ROUNDS:
            kills += _kill_something(chance, workers)
        time.sleep(0.2)
    assert kills, "nothing was killed"
    for branch, found in ended:
        assert found["status"] == "COMPLETED", f"seed {seed}: {branch}, {found.get('reasonForIncompletion')}"
    for branch in branches:
        mine = sorted(found["workflowId"] for on, found in ended if on == branch)
        for name in ("prepared.txt", "finished.txt"):
            assert sorted(pipeline.repository.files(branch)[name].decode().split()) == mine, f"seed {seed}"
    for worker in workers:
        worker.signal(signal.SIGTERM)
    for worker in workers:
        assert worker.wait(60) == 0
        left = sorted(path.name for path in worker.root.iterdir() if path.name != "supervisor")
        assert left == [], f"seed {seed}"


def _kill_something(chance, workers):
    """An executor, or a supervisor, which is started again; how many were killed."""
    worker = chance.choice(workers)
    if chance.random() < 0.3:
        family = psutil.Process(worker.pid).children(recursive=True)
        worker.signal(signal.SIGKILL)
        worker.wait()
        wait_for(lambda: not any(_lives(process) for process in family), "a killed worker's processes to go", 15)
        worker.start()
        worker.wait_ready()
        return 1
    try:
        reapers = psutil.Process(worker.pid).children()
        executors = [executor for reaper in reapers for executor in reaper.children()]
        if not executors:
            return 0
        chance.choice(executors).kill()
    except psutil.NoSuchProcess:
        return 0
    return 1


def _lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
