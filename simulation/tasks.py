"""The tasks that simulated workers run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from perago.tasks.declare import TaskDefinition, task, task_of
from perago.values.spec import WorkspaceSpec
from perago.workflows.builtin import builtin_task
from perago.workflows.graph import BEGIN_TASK, END_TASK

SECRET = "planted-in-simulated-params"
"""Value of `password` in every simulated task. It must not appear anywhere."""

BIG_CHARACTERS = 17_000
"""Size of a result that is too large for a stamp (16 KiB)."""


class Params(BaseModel):
    """`noop`: whether the body changes nothing."""

    who: str
    paths: list[str]
    noop: Literal["never", "sometimes", "always"]
    big: bool = False
    password: str = ""


class Result(BaseModel):
    """`said`: the text that it wrote to its files, or None."""

    said: str | None
    padding: str = ""


@dataclass(frozen=True)
class BodyRun:
    """One run of a body.

    Attributes:
        token: the text that it writes besides `who`; unique, or the same in all runs.
        seconds: its approximate duration.
        coin: whether a body that sometimes changes nothing does so now.
        pause: lets virtual time pass.
        saw: receives the files that it found in its workspace.
        wrote: receives the content of each written path.
    """

    token: str
    seconds: float
    coin: bool
    pause: Callable[[], None]
    saw: Callable[[Mapping[str, bytes]], None]
    wrote: Callable[[Mapping[str, bytes]], None]


RUN: ContextVar[BodyRun] = ContextVar("perago_simulated_body")


def files_in(workspace: Path) -> dict[str, bytes]:
    """Content by path."""
    return {str(path.relative_to(workspace)): path.read_bytes() for path in workspace.rglob("*") if path.is_file()}


def _body(workspace: Path, params: Params) -> Result:
    run = RUN.get()
    noop = params.noop == "always" or (params.noop == "sometimes" and run.coin)
    paths = [] if noop else params.paths
    text = f"{params.who} {run.token}"
    run.pause()
    run.saw(files_in(workspace))
    for path in paths:
        (workspace / path).write_text(text)
    run.wrote({path: text.encode() for path in paths})
    run.pause()
    return Result(said=None if noop else text, padding="x" * BIG_CHARACTERS if params.big else "")


def _declared(name: str, spec: WorkspaceSpec) -> TaskDefinition:
    @task(name=name, owner_email="ada@example.org", workspace=spec)
    def body(workspace: Path, params: Params) -> Result:
        return _body(workspace, params)

    definition = task_of(body)
    assert definition is not None, "it is decorated"
    return definition


class CachedParams(BaseModel):
    """`who`: whose file it makes, whatever the workflow; without a secret, with which there is no key."""

    who: str
    noop: bool = False


def made_by(who: str, found: Mapping[str, bytes], *, noop: bool) -> str | None:
    """What a task with a cache makes of the files that it sees; None: nothing."""
    digest = hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()
    return None if noop else f"{who} made this of {digest}"


def path_made_by(who: str) -> str:
    """The only output of a task with a cache."""
    return f"made-{who}"


def _declared_cached(who: str, reads: list[str]) -> TaskDefinition:
    spec = WorkspaceSpec(include=reads, outputs=[path_made_by(who)])

    @task(name=f"cached {who}", owner_email="ada@example.org", workspace=spec, cache=True, cache_version="1")
    def body(workspace: Path, params: CachedParams) -> Result:
        run = RUN.get()
        run.pause()
        found = files_in(workspace)
        run.saw(found)
        text = made_by(params.who, found, noop=params.noop)
        if text is not None:
            (workspace / path_made_by(params.who)).write_text(text)
        run.wrote({} if text is None else {path_made_by(params.who): text.encode()})
        run.pause()
        return Result(said=text)

    definition = task_of(body)
    assert definition is not None, "it is decorated"
    return definition


CACHED = {
    f"cached {who}": _declared_cached(who, ["in.txt", *reads])
    for who, reads in {"a": [], "l": [], "b": ["made-a", "made-l"], "r": ["made-b"]}.items()
}
"""Tasks with a cache by name: each sees the input, and what those before it made."""

SCOPE = "scope"
"""Prefix of the tasks in `SCOPED`."""

SCOPED = {
    f"scoped {who}": _declared(f"scoped {who}", WorkspaceSpec(prefix=SCOPE, include=["in.txt", "shared", names]))
    for who, names in {"a": "*-a", "b": "*-[ab]", "l": "*-l", "r": "*-r"}.items()
}
"""Serializable tasks by name: each sees the input, what its namesakes write, and what siblings write together."""

TASKS = {
    "write": _declared("write", WorkspaceSpec(isolation="exclusive")),
    "merge": _declared("merge", WorkspaceSpec(isolation="snapshot")),
    "read": _declared("read", WorkspaceSpec(read_only=True)),
    **SCOPED,
    **CACHED,
    **{name: builtin_task(name) for name in (BEGIN_TASK, END_TASK)},
}
"""Tasks by name: exclusive, snapshot, read-only, serializable, with a cache, and those that begin and end a run."""
