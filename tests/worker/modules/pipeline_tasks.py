"""A workflow of three: the first may fail once, the second only reads, the third builds on the first."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import RetryPolicy, TaskContext, TaskControls, TaskFailed, TimeoutPolicy, WorkspaceSpec, task

OWNER = "tests@example.org"
CONTROLS = TaskControls(
    retry=RetryPolicy(count=10, delay_seconds=0), timeout=TimeoutPolicy(policy="RETRY", response_seconds=10)
)


class Params(BaseModel):
    text: str
    fail_first: bool = False


class Answer(BaseModel):
    lines: int


@task(name="pipe.prepare", owner_email=OWNER, workspace=WorkspaceSpec(), controls=CONTROLS)
def prepare(workspace: Path, params: Params, context: TaskContext) -> Answer:
    if params.fail_first and context.retry_count == 0:
        raise TaskFailed("the first try fails, as it was told to")
    return _append(workspace / "prepared.txt", params.text)


@task(name="pipe.count", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True), controls=CONTROLS)
def count(workspace: Path, params: Params) -> Answer:
    return Answer(lines=len((workspace / "prepared.txt").read_text().splitlines()))


@task(name="pipe.finish", owner_email=OWNER, workspace=WorkspaceSpec(), controls=CONTROLS)
def finish(workspace: Path, params: Params) -> Answer:
    return _append(workspace / "finished.txt", params.text)


def _append(path: Path, text: str) -> Answer:
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}{text}\n")
    return Answer(lines=len(path.read_text().splitlines()))
