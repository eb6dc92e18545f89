"""A task whose publication may take two seconds."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy, WorkspaceSpec, task

BUDGET = PublishBudget(
    observed_merge_p99_seconds=1,
    safety_margin_seconds=1,
    publish_timeout_seconds=2,
    conductor_completion_timeout_seconds=10,
    worker_shutdown_grace_seconds=10,
    heartbeat_interval_seconds=5,
)
CONTROLS = TaskControls(
    retry=RetryPolicy(count=3, delay_seconds=0),
    timeout=TimeoutPolicy(policy="RETRY", response_seconds=60),
    publish_budget=BUDGET,
)


class Params(BaseModel):
    text: str


class Answer(BaseModel):
    length: int


@task(name="budget.write", owner_email="tests@example.org", workspace=WorkspaceSpec(), controls=CONTROLS)
def write(workspace: Path, params: Params) -> Answer:
    (workspace / "written.txt").write_text(params.text)
    return Answer(length=len(params.text))
