"""Tasks to wire into workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, WorkspaceSpec, task

OWNER = "team@example.org"
ONCE_AGAIN = TaskControls(retry=RetryPolicy(count=1, delay_seconds=0))


class CleanParams(BaseModel):
    islands: list[str]
    limit: int = 3


class Cleaned(BaseModel):
    kept: int
    note: str | None = None
    names: list[str] = []
    counts: dict[str, int] = {}


class CountParams(BaseModel):
    kept: int = 0
    text: str = ""
    share: float = 0.0


class Counted(BaseModel):
    mean: float


@task(name="pipe.clean", owner_email=OWNER, workspace=WorkspaceSpec(), controls=ONCE_AGAIN)
def clean(workspace: Path, params: CleanParams) -> Cleaned:
    (workspace / "islands.txt").write_text("\n".join(params.islands))
    return Cleaned(kept=len(params.islands), names=params.islands)


@task(name="pipe.look", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True), controls=ONCE_AGAIN)
def look(workspace: Path, params: CountParams) -> Counted:
    return Counted(mean=len((workspace / "islands.txt").read_text()))


@task(name="pipe.count", owner_email=OWNER, controls=ONCE_AGAIN)
async def count(params: CountParams) -> Counted:
    return Counted(mean=params.kept)


class PipeParams(BaseModel):
    islands: list[str]
    mode: Literal["full", "quick"] = "quick"
    threshold: int = 1
    ratio: float = 0.5


class Report(BaseModel):
    rows: int
    mean: float
