"""Each line that a body logs is told to the engine once, however its module has configured logging."""

from __future__ import annotations

import pytest

from places import Worker
from waiting import wait_for

MODULE = """
import logging
from pathlib import Path
from pydantic import BaseModel
from perago import TaskContext, WorkspaceSpec, task

{configured}

class Nothing(BaseModel):
    value: str = ""

def log_lines(context: TaskContext) -> Nothing:
    logging.info("first")
    logging.getLogger("app").warning("a warning")
    context.logger.info("counted", rows=3)
    return Nothing()

@task(name="in_workspace", owner_email="t@example.org", workspace=WorkspaceSpec())
def in_workspace(workspace: Path, params: Nothing, context: TaskContext) -> Nothing:
    return log_lines(context)

@task(name="free", owner_email="t@example.org")
def free(params: Nothing, context: TaskContext) -> Nothing:
    return log_lines(context)
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("configured", ["", "logging.basicConfig(level=logging.INFO)"], ids=["", "configured"])
def test_it_stands_in_the_task_s_log(tmp_path, monkeypatch, start, configured):
    (tmp_path / "worker_logging.py").write_text(MODULE.format(configured=configured))
    monkeypatch.syspath_prepend(str(tmp_path))
    with Worker(tmp_path, start, ["worker_logging"]) as worker:
        assert worker.run("worker_logging:in_workspace").reason == ""
        worker.supervised.completed(worker.supervised.schedule("free"))
        logs = worker.supervised.engine.logs
        wait_for(lambda: str(logs).count("counted") >= 2, "the lines of both tasks")
    expected = ["INFO first", "WARNING a warning", "INFO counted rows=3"]
    assert [lines.splitlines() for entries in logs.values() for lines in ["\n".join(entries)]] == [expected] * 2
