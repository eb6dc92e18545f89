"""The tasks of a transactional workflow: each adds a line to a file of its own, and sees those of the others."""

from __future__ import annotations

import time
from pathlib import Path

from nemesis_common import Answer, FileParams, append
from nemesis_controls import CONTROLS, OWNER

from perago import TaskContext, WorkspaceSpec, task


@task(
    name="nemesis.part",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["part-*.txt"]),
    controls=CONTROLS,
)
def part(workspace: Path, params: FileParams, context: TaskContext) -> Answer:
    context.logger.info("doing a part", password=params.password)
    time.sleep(params.seconds)
    return append(workspace / params.path, params.text)
