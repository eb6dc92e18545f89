"""The tasks and workflows that are run with files that stay, and without."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

from pydantic import BaseModel

from benchmarks.changing import change_files
from perago import Flow, WorkspaceSpec, task, workflow

OWNER = "benchmarks@example.org"
CHANGED, STEPS = 10, 6
COMMON = "0000/000000.dat"
"""The first of the files of `inputs.Content`."""
PARTS = int(os.environ.get("PERAGO_BENCH_PARTS", "40"))


class Nothing(BaseModel):
    pass


class Part(BaseModel):
    part: str


class Hashed(BaseModel):
    """A digest, and which copy of the common file was read: no two have the same number and time."""

    digest: str
    copy_read: str


class Copies(BaseModel):
    """The number of copies."""

    count: int


class All(BaseModel):
    hashed: list[Hashed]


@task(name="bench.change", owner_email=OWNER, workspace=WorkspaceSpec())
def change(workspace: Path, params: Nothing) -> Nothing:
    """Change some files."""
    change_files(workspace, CHANGED, uuid.uuid4().hex[:8])
    return Nothing()


@workflow(name="bench_steps", owner_email=OWNER)
def steps(flow: Flow) -> None:
    """Tasks one after the other, each on all files."""
    for _ in range(STEPS):
        flow.run(change)


SHARD = WorkspaceSpec(include=[COMMON, "in/{part}.txt"], outputs=["out/{part}.txt"], isolation="snapshot")


@task(name="bench.shard", owner_email=OWNER, workspace=SHARD)
def shard(workspace: Path, params: Part) -> Hashed:
    """Hash the common file and one of its own, and write the digest."""
    with (workspace / COMMON).open("rb") as file:
        status, found = os.fstat(file.fileno()), hashlib.file_digest(file, "sha256")
    found.update((workspace / "in" / f"{params.part}.txt").read_bytes())
    (workspace / "out" / f"{params.part}.txt").write_text(found.hexdigest())
    return Hashed(digest=found.hexdigest(), copy_read=f"{status.st_ino} {status.st_ctime_ns}")


@task(name="bench.count", owner_email=OWNER)
def count(params: All) -> Copies:
    """Count the copies of the common file."""
    return Copies(count=len({hashed.copy_read for hashed in params.hashed}))


@workflow(name="bench_shards", owner_email=OWNER)
def shards(flow: Flow) -> Copies:
    """A task for each part, beside each other."""
    hashed = flow.map(shard, over=[f"{number:03}" for number in range(PARTS)], as_="part")
    return flow.run(count, hashed=hashed)


@task(name="bench.look", owner_email=OWNER, workspace=WorkspaceSpec(read_only=True))
def look(workspace: Path, params: Nothing) -> Nothing:
    """Do nothing, so that only laying out is measured."""
    return Nothing()
