"""A task that looks at the container it runs in."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pydantic import BaseModel

from perago import TaskContext, WorkspaceSpec, task


class Params(BaseModel):
    seconds: float = 0.0
    write_to: list[str] = []


class Answer(BaseModel):
    errors: list[int | None]


@task(name="image.look", owner_email="tests@example.org", workspace=WorkspaceSpec())
def look(workspace: Path, params: Params, context: TaskContext) -> Answer:
    context.progress(1)
    time.sleep(params.seconds)
    (workspace / f"after-{params.seconds}").write_text("done")
    return Answer(errors=[_error_of_writing(Path(os.path.expandvars(path)) / "probe") for path in params.write_to])


def _error_of_writing(path: Path) -> int | None:
    try:
        path.write_text("written")
    except OSError as exc:
        return exc.errno
    return None
