"""Tasks with guards of their own."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from perago import WorkspaceSpec, require_file, task

OWNER = "tests@example.org"


class Params(BaseModel):
    text: str = "a,b"


class Result(BaseModel):
    pid: int


def is_not_empty(workspace: Path) -> None:
    (Path(os.environ["CLI_GATE"]) / "pre").write_text(f"{os.getpid()} {os.environ.get('CONDUCTOR_AUTH_SECRET')}")
    assert (workspace / "a.txt").read_text(), "a.txt is empty"


def has_header(workspace: Path) -> None:
    print("looks at the header")
    found = (workspace / "out.csv").read_text()
    if found != "a,b":
        raise ValueError(f"the header is {found!r}")


@task(
    name="checked",
    owner_email=OWNER,
    workspace=WorkspaceSpec(prefix="in", pre=[require_file("a.txt"), is_not_empty], post=[has_header]),
)
def checked(workspace: Path, params: Params) -> Result:
    global out
    out = (workspace / "out.csv").open("w")
    out.write(params.text)
    return Result(pid=os.getpid())


def dies(workspace: Path) -> None:
    os._exit(7)


@task(name="dying", owner_email=OWNER, workspace=WorkspaceSpec(post=[dies]))
def dying(workspace: Path, params: Params) -> Result:
    return Result(pid=0)
