"""The tasks that simulated workers run."""

from __future__ import annotations

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
    **{name: builtin_task(name) for name in (BEGIN_TASK, END_TASK)},
}
"""Tasks by name: exclusive, snapshot, read-only, serializable, and those that begin and end a run."""
