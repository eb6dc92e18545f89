"""A task on many files, and what kills the process that claims or leaves them, if WARM_KILL_ORDER names a file."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, TimeoutPolicy, WorkspaceSpec, task

CONTROLS = TaskControls(
    retry=RetryPolicy(count=10, delay_seconds=0), timeout=TimeoutPolicy(policy="RETRY", response_seconds=30)
)


class Params(BaseModel):
    name: str


class Seen(BaseModel):
    text: str


@task(name="warm.write", owner_email="tests@example.org", workspace=WorkspaceSpec(), controls=CONTROLS)
def write(workspace: Path, params: Params) -> Seen:
    """Write one file and remove another; return the text of all that were there."""
    files = sorted(path for path in workspace.rglob("*") if path.is_file())
    text = "".join(path.read_text() for path in files)
    files[0].unlink()
    (workspace / params.name).write_text(params.name)
    return Seen(text=text)


if "WARM_KILL_ORDER" in os.environ:
    from warm_kills import kill_by

    kill_by(Path(os.environ["WARM_KILL_ORDER"]))
