"""What the tasks of the nemesis share. Loaded, it heeds orders of a nemesis."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from nemesis import hook
from perago.worker.executor.link import PhaseSender


class Params(BaseModel):
    """`password` is one that must be seen nowhere; `seconds` that the body takes."""

    text: str
    password: str = ""
    seconds: float = 0.0


class FileParams(Params):
    """`path` of the file."""

    path: str


class Answer(BaseModel):
    lines: int


def append(path: Path, text: str) -> Answer:
    """Add a line to a file."""
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}{text}\n")
    return Answer(lines=len(path.read_text().splitlines()))


def heed_orders() -> None:
    """Have each event of an attempt in this process be a boundary."""
    send = PhaseSender.__call__

    def heeding(self: PhaseSender, event: object) -> None:
        if event.kind != "progress":
            error = None if event.error is None else type(event.error).__name__
            facts = {"task": event.task_id, "execution": event.execution_id, "error": error}
            hook.boundary(event.phase.value, event.kind, **facts)
        send(self, event)

    if PhaseSender.__call__.__name__ != heeding.__name__:
        PhaseSender.__call__ = heeding


heed_orders()
