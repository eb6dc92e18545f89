"""The task of sub-workflows: it adds a line to a file, and sees all of them."""

from __future__ import annotations

import time
from pathlib import Path

from nemesis_common import Answer, FileParams, append
from nemesis_controls import CONTROLS, OWNER

from perago import TaskContext, WorkspaceSpec, task


@task(name="nemesis.leaf", owner_email=OWNER, workspace=WorkspaceSpec(), controls=CONTROLS)
def leaf(workspace: Path, params: FileParams, context: TaskContext) -> Answer:
    context.logger.info("in a sub-workflow", password=params.password)
    time.sleep(params.seconds)
    return append(workspace / params.path, params.text)
