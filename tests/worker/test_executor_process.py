"""An executor's process: what its store or its engine cannot answer does not end it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from perago.errors import EngineError, StoreError
from perago.stores.git import GitStore
from perago.stores.git.provider import git_settings
from perago.values.record import InstanceRecord, TryRecord, TryStatus
from perago.worker.attempts.in_process import ExecutorProcess
from perago.worker.attempts.job import Job
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import Finished
from perago.worker.body.run import load_order
from perago.worker.executor.wire import Configure
from perago.worker.supervisor.task_log import TaskLog
from worker_engine import MemoryWorkerEngine


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "readme.txt").write_text("data")
    GitStore.create(tmp_path / "data.git").import_directory(tmp_path / "files", "main", "begin")
    return tmp_path / "data.git"


@pytest.fixture
def engine(repository):
    """With one task, of a workspace."""
    engine = MemoryWorkerEngine()
    workspace = {"repository": "data", "branch": "main", "refType": "commit"}
    workspace["ref"] = GitStore(repository).branch_head("main")
    input_data = {"workspace": workspace, "params": {"text": "one"}}
    engine.tasks.schedule("space.append", input_data, reference_task_name="r", workflow=engine.tasks.start_workflow())
    return engine


@pytest.fixture
def executor(bodies, tmp_path, repository, engine):
    del bodies  # its modules can be imported now
    configuration = Configure(
        load=load_order(["supervised_bodies"], "fork"),
        store=git_settings(repository),
        workspace_root=str(tmp_path / "root"),
        worker_id="worker-1",
        failure_reason_max_length=500,
    )
    log = TaskLog(engine.log)
    with ExecutorProcess(configuration, engine, Journal(log)) as executor:
        executor.start()
        yield executor
    assert log.close(10)


def test_a_look_that_store_or_engine_cannot_answer_leaves_the_executor_as_it_is(
    executor, engine, repository, monkeypatch
):
    (attempt,) = engine.poll(["space.append"], 1, "worker-1", None)
    job = Job(attempt)
    outcome = executor.run(job)
    assert isinstance(outcome, Finished)
    assert outcome.result.status == "COMPLETED"

    engine.is_away = True
    with pytest.raises(EngineError):
        executor.look(job)
    assert executor.is_alive
    engine.is_away = False

    assert executor.look(job) is None
    with monkeypatch.context() as patch:
        other = TryRecord(
            task_id="another",
            reference_task_name=attempt.reference_task_name,
            retry_count=1,
            scheduled_time=attempt.scheduled_time + 1,
            poll_count=1,
            status=TryStatus.COMPLETED,
        )
        patch.setattr(engine, "load_record", lambda _, __: InstanceRecord(attempt.workflow_instance_id, (other,)))
        elsewhere = repository.rename(repository.with_name("away"))
        with pytest.raises(StoreError):
            executor.look(job)
        assert executor.is_alive
        elsewhere.rename(repository)

    assert executor.look(job) is None


@pytest.fixture
def many_files(tmp_path: Path, repository: Path) -> None:
    for number in range(300):
        (tmp_path / "files" / f"{number:03}.txt").write_text(str(number))
    GitStore(repository).import_directory(tmp_path / "files", "main", "more")


@pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")
@pytest.mark.parametrize("warm", ["on", "off"])
def test_files_stay_between_the_attempts_of_an_executor(bodies, tmp_path, repository, many_files, engine, warm):
    del bodies, many_files  # its modules can be imported now
    configuration = Configure(
        load=load_order(["supervised_bodies"], "fork"),
        store=git_settings(repository),
        workspace_root=str(tmp_path / "root"),
        worker_id="worker-1",
        failure_reason_max_length=500,
        warm=warm,
    )
    log, kept = TaskLog(engine.log), []
    journal = Journal(log)
    with ExecutorProcess(configuration, engine, journal) as executor:
        executor.start()
        for _ in range(2):
            workspace = {"repository": "data", "branch": "main", "refType": "commit"}
            workspace["ref"] = GitStore(repository).branch_head("main")
            input_data = {"workspace": workspace, "params": {"text": "one"}}
            engine.tasks.schedule(
                "space.append", input_data, reference_task_name="r", workflow=engine.tasks.start_workflow()
            )
        for attempt in engine.poll(["space.append"], 3, "worker-1", None):
            outcome = executor.run(Job(attempt))
            assert isinstance(outcome, Finished)
            if attempt.input_data["workspace"]["ref"] == workspace["ref"]:
                kept.append(len(list((tmp_path / "root").glob("warm/*"))))
    assert log.close(10)
    assert kept == ([1, 1, 1] if warm == "on" else [0, 0, 0])
