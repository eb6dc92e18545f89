"""Tasks of the telemetry's tests: one that tells its trace and records values, one that lets every secret slip."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pydantic import BaseModel

from perago import MetricRecorder, MetricSpec, TaskContext, WorkspaceSpec, task
from perago.errors import TaskTerminalError

OWNER = "tests@example.org"


class Params(BaseModel):
    text: str = ""


class Answer(BaseModel):
    traceparent: str | None = None
    environment: str | None = None


@task(name="tell.trace", owner_email=OWNER, workspace=WorkspaceSpec(), metrics=MetricSpec())
def trace(workspace: Path, params: Params, context: TaskContext, metrics: MetricRecorder) -> Answer:
    """Appends a line, and tells its place in the trace."""
    with (workspace / "lines.txt").open("a") as lines:
        lines.write(params.text + "\n")
    metrics.histogram("lines.length", len(params.text), labels={"kind": "text"})
    metrics.gauge("lines.count", 1)
    return Answer(traceparent=context.traceparent, environment=os.environ.get("TRACEPARENT"))


@task(name="tell.nothing", owner_email=OWNER, metrics=MetricSpec(attempts=False, worker_capacity=False))
def nothing(params: Params, metrics: MetricRecorder) -> Answer:
    """Wants none of Perago's own metrics."""
    metrics.histogram("silence", 1)
    return Answer()


@task(name="tell.secrets", owner_email=OWNER, workspace=WorkspaceSpec())
def secrets(workspace: Path, params: Params, context: TaskContext) -> Answer:
    """Logs every secret that its environment holds, tells them as progress, and fails with them."""
    (workspace / "half.txt").write_text("half")
    canaries = [value for name, value in os.environ.items() if name.startswith(("CANARY_", "CONDUCTOR_AUTH_"))]
    told = " ".join(canaries)
    logging.getLogger("a.library").warning("connecting with %s", told)
    context.logger.info("have", found=told)
    context.progress(1, 2, told)
    raise TaskTerminalError(f"could not connect with {told}: {params.text}")
