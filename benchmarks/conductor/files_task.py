"""A task that changes some of its workspace's files, declared for both Perago and the reference.

Its name comes from PERAGO_BENCH_TASK, so that each worker has its own queue.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from benchmarks.changing import change_files
from perago import WorkspaceSpec, task


class Params(BaseModel):
    """The number of files to change, and the word to write to each."""

    count: int
    word: str


class Result(BaseModel):
    changed: int


@task(
    name=os.environ.get("PERAGO_BENCH_TASK", "bench.files"),
    owner_email="benchmarks@example.org",
    workspace=WorkspaceSpec(),
)
def change(workspace: Path, params: Params) -> Result:
    """Change as many files as the params say."""
    return Result(changed=len(change_files(workspace, params.count, params.word)))
