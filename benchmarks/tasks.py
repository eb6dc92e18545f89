"""The measured tasks, which only change some files."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from benchmarks.changing import append_to_files, change_files
from perago import WorkspaceSpec, task


class Params(BaseModel):
    """The changes to make.

    Attributes:
        count: number of files, spread over all of them; all if there are fewer.
        word: text written into the middle of each; it differs in each run.
    """

    count: int
    word: str


class Result(BaseModel):
    changed: int


@task(name="change", owner_email="benchmarks@example.org", workspace=WorkspaceSpec())
def change(workspace: Path, params: Params) -> Result:
    """Change the number of files in the params."""
    return Result(changed=len(change_files(workspace, params.count, params.word)))


@task(name="append", owner_email="benchmarks@example.org", workspace=WorkspaceSpec())
def append(workspace: Path, params: Params) -> Result:
    """Append a byte to the number of files in the params."""
    return Result(changed=len(append_to_files(workspace, params.count, params.word)))
