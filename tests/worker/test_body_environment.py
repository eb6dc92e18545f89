"""Bodies see no credential of the worker, unless their task asks for it by name."""

from __future__ import annotations

import os

import pytest

from perago import TaskExecutionError, load_module_task
from perago.attempt.body import BodyCall
from perago.tasks.context import TaskContext
from perago.tasks.params import validate_params
from perago.values.credentials import CREDENTIALS
from perago.values.models import AttemptIdentity
from perago.worker.attempts.in_process import ExecutorProcess
from perago.worker.attempts.job import Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import Finished
from perago.worker.body.run import load_order
from perago.worker.executor.wire import Configure
from perago.worker.supervisor.task_log import TaskLog
from worker_engine import MemoryWorkerEngine

SECRET = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
VALUES = {name: f"value-of-{name.lower()}" for name in CREDENTIALS}
OTHERS = {"AWS_SECRET_ACCESS_KEY": "aws-secret", "LAKECTL_SERVER_ENDPOINT_URL": "http://lakefs", "APP_TOKEN": "t"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in {**VALUES, **OTHERS}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def run(bodies):
    """Runs a task's body as `perago run` does."""

    def run(name, raw, start):
        task = load_module_task(f"environment_bodies:{name}")
        identity = AttemptIdentity(workflow_instance_id="w", task_id="t", retry_count=0)
        context = TaskContext(identity=identity, execution_id="e", task_name=task.name, is_cancelled=bool)
        call = BodyCall(task=task, params=validate_params(task, raw), raw_params=raw, context=context)
        return bodies.run_target("environment_bodies", call, start=start)["value"]

    return run


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_body_sees_all_variables_but_the_credentials(run, start):
    seen = run("plain", {}, start)
    assert {name for name in CREDENTIALS if name in seen} == set()
    assert {name: seen[name] for name in OTHERS} == OTHERS
    assert seen["of a program"] == "None"
    assert seen["at import"] == VALUES[SECRET]  # the module is loaded once for all its tasks
    assert os.environ[SECRET] == VALUES[SECRET]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_body_sees_what_its_task_asks_for_by_name(run, start):
    seen = run("asking", {}, start)
    assert {name: seen[name] for name in CREDENTIALS if name in seen} == {SECRET: VALUES[SECRET]}
    assert seen["of a program"] == VALUES[SECRET]


def test_a_body_that_fails_because_a_credential_is_withheld_says_what_to_declare(run):
    with pytest.raises(TaskExecutionError) as failed:
        run("looking", {}, "fork")
    assert f'declare @task(..., environment=["{SECRET}"])' in str(failed.value)
    assert VALUES[SECRET] not in str(failed.value)
    with pytest.raises(TaskExecutionError, match="KeyError: 'OTHER_KEY'"):
        run("looking", {"name": "OTHER_KEY"}, "fork")


@pytest.mark.parametrize("free_tasks", ["warm", "forked"])
def test_a_worker_withholds_credentials_from_one_task_and_gives_them_to_the_next(bodies, tmp_path, free_tasks):
    del bodies  # its modules can be imported now
    engine = MemoryWorkerEngine()
    configuration = Configure(
        load=load_order(["environment_bodies"], "fork"),
        store=None,
        workspace_root=str(tmp_path / "root"),
        worker_id="worker-1",
        failure_reason_max_length=500,
        free_tasks=free_tasks,
    )
    log = TaskLog(engine.log)
    results = []
    with ExecutorProcess(configuration, engine, Journal(log)) as executor:
        executor.start()
        for name in ("plain", "asking", "plain", "looking", "asking"):
            task = f"environment.{name}"
            engine.tasks.schedule(task, {"params": {}}, reference_task_name="r", workflow=engine.tasks.start_workflow())
            (attempt,) = engine.poll([task], 1, "worker-1", None)
            outcome = executor.run(Job(attempt))
            assert isinstance(outcome, Finished)
            results.append(outcome.result)
    assert log.close(10)
    looking = results.pop(3)
    assert f'environment=["{SECRET}"]' in looking.reason_for_incompletion
    seen = [result.output["result"]["value"] for result in results]
    assert [SECRET in each for each in seen] == [False, True, False, True]
    assert [each["of a program"] != "None" for each in seen] == [False, True, False, True]
    assert not any("CONDUCTOR_AUTH_SECRET" in each for each in seen)
    assert all(each["APP_TOKEN"] == "t" for each in seen)
