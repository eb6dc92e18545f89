"""A task with guards that are functions."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import RetryPolicy, TaskControls, WorkspaceSpec, task


class Params(BaseModel):
    text: str


class Nothing(BaseModel):
    pass


def has_no_stop(workspace: Path) -> None:
    if (workspace / "stop.txt").exists():
        raise ValueError("there is a stop.txt")


def is_short(workspace: Path) -> None:
    if (size := (workspace / "out.txt").stat().st_size) > 5:
        raise ValueError(f"out.txt has {size} bytes")


@task(
    name="space.guarded",
    owner_email="tests@example.org",
    workspace=WorkspaceSpec(pre=[has_no_stop], post=[is_short]),
    controls=TaskControls(retry=RetryPolicy(delay_seconds=0)),
)
async def guarded(workspace: Path, params: Params) -> Nothing:
    (workspace / "out.txt").write_text(params.text)
    return Nothing()
