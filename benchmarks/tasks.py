"""The tasks that are measured: they change some files, as a body would, and nothing else."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from benchmarks.changing import append_to_files, change_files
from perago import WorkspaceSpec, task


class Params(BaseModel):
    """What is to be changed.

    Attributes:
        count: so many files, spread over all of them; all where there are fewer.
        word: what is written into the middle of each; it differs from run to run.
    """

    count: int
    word: str


class Result(BaseModel):
    changed: int


@task(name="change", owner_email="benchmarks@example.org", workspace=WorkspaceSpec())
def change(workspace: Path, params: Params) -> Result:
    """Change as many files as the params say."""
    return Result(changed=len(change_files(workspace, params.count, params.word)))


@task(name="append", owner_email="benchmarks@example.org", workspace=WorkspaceSpec())
def append(workspace: Path, params: Params) -> Result:
    """Make as many files as the params say longer by a byte."""
    return Result(changed=len(append_to_files(workspace, params.count, params.word)))
