"""The task whose runs are killed: it writes a small file and a large one."""

from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, task

LARGE = 2 << 20


class Params(BaseModel):
    text: str


class Result(BaseModel):
    length: int


@task(name="write", owner_email="tests@example.org", workspace=WorkspaceSpec())
def write(workspace: Path, params: Params) -> Result:
    (workspace / "small.txt").write_text(params.text)
    (workspace / "large.bin").write_bytes(params.text.encode().ljust(LARGE, b"."))
    return Result(length=len(params.text))
