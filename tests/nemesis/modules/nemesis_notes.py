"""One task type alone, in snapshot isolation: several of a workflow at once add a line each, to a file of their own."""

from __future__ import annotations

import time
from pathlib import Path

from nemesis_common import Answer, FileParams, append
from nemesis_controls import CONTROLS, OWNER

from perago import TaskContext, WorkspaceSpec, require_file, task


@task(
    name="nemesis.note",
    owner_email=OWNER,
    workspace=WorkspaceSpec(pre=[require_file("readme.txt")], isolation="snapshot"),
    controls=CONTROLS,
)
def note(workspace: Path, params: FileParams, context: TaskContext) -> Answer:
    context.logger.info("noting", password=params.password)
    time.sleep(params.seconds)
    return append(workspace / params.path, params.text)
