"""A module that seeds the generator of random numbers when it is loaded."""

from __future__ import annotations

import random
from pathlib import Path

from plain_rows import Params, Result

from perago import WorkspaceSpec, task

random.seed(42)


@task(name="draw_seeded", owner_email="t@example.org", workspace=WorkspaceSpec())
def draw_seeded(workspace: Path, params: Params) -> Result:
    return Result(value=random.random())
