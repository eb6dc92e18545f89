"""A transactional workflow for the commands: two tasks that publish, and a gate between them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import Flow, RetryPolicy, TaskControls, TaskFailed, WorkspaceSpec, task, workflow

OWNER = "a@example.org"


class Number(BaseModel):
    number: int


def wait() -> None:
    """Wait until the file at CLI_GATE says "go on"."""
    gate = Path(os.environ["CLI_GATE"])
    gate.with_suffix(".waiting").touch()
    for _ in range(1200):
        if gate.read_text() == "go on":
            return
        time.sleep(0.1)


@task(name="cli.first", owner_email=OWNER, workspace=WorkspaceSpec(prefix="first"))
def first(workspace: Path, params: Number) -> Number:
    if Path(os.environ["CLI_GATE"]).read_text() == "wait first":
        wait()
    (workspace / "number").write_text(str(params.number))
    return Number(number=params.number + 1)


@task(name="cli.between", owner_email=OWNER, controls=TaskControls(retry=RetryPolicy(count=0)))
def between(params: Number) -> Number:
    """Does what the file at CLI_GATE says: fail, wait to be killed, or go on."""
    asked = Path(os.environ["CLI_GATE"]).read_text()
    if asked == "fail":
        raise TaskFailed("the gate is closed")
    if asked == "wait":
        wait()
    return params


@task(name="cli.second", owner_email=OWNER, workspace=WorkspaceSpec(prefix="second"))
def second(workspace: Path, params: Number) -> Number:
    (workspace / "number").write_text(str(params.number))
    return Number(number=params.number + 1)


@workflow(name="cli_whole", owner_email=OWNER, transactional=True)
def whole(flow: Flow, params: Number) -> Number:
    started = flow.run(first, number=params.number)
    passed = flow.run(between, number=started.number)
    return flow.run(second, number=passed.number)
