"""A workflow of three: two add a line to a file, one reads between them. The last sees none of what people add."""

from __future__ import annotations

import time
from pathlib import Path

from nemesis_common import Answer, Params, append
from nemesis_controls import CONTROLS, OWNER

from perago import TaskContext, WorkspaceSpec, require_file, task


@task(
    name="nemesis.prepare",
    owner_email=OWNER,
    workspace=WorkspaceSpec(pre=[require_file("readme.txt")], post=[require_file("prepared.txt")]),
    controls=CONTROLS,
)
def prepare(workspace: Path, params: Params, context: TaskContext) -> Answer:
    context.logger.info("preparing", password=params.password)
    time.sleep(params.seconds)
    return append(workspace / "prepared.txt", params.text)


@task(name="nemesis.count", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True), controls=CONTROLS)
def count(workspace: Path, params: Params) -> Answer:
    return Answer(lines=len((workspace / "prepared.txt").read_text().splitlines()))


@task(
    name="nemesis.finish",
    owner_email=OWNER,
    workspace=WorkspaceSpec(
        pre=[require_file("prepared.txt")], post=[require_file("finished.txt")], exclude=["by-hand-*.txt"]
    ),
    controls=CONTROLS,
)
def finish(workspace: Path, params: Params) -> Answer:
    return append(workspace / "finished.txt", params.text)
