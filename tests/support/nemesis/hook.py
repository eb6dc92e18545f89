"""Orders to a host's processes: to be killed or stopped where an attempt comes to a boundary of a phase.

Runs in the processes that are to die, so it loads nothing of its own. An order is a file in a directory that all share;
whoever comes to its boundary first renames it, and so has it alone, writes down what is about to happen, and does it.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

DIRECTORY_VARIABLE = "NEMESIS_DIRECTORY"
SUPERVISOR_VARIABLE = "NEMESIS_SUPERVISOR"
JOURNAL = "journal.jsonl"
ORDERS = "orders"
END_SECONDS = 600.0
"""How long a process waits for an end that is certain."""


def boundary(phase: str, kind: str, **facts: Any) -> None:
    """An attempt of this process is at a boundary: write it down, and obey an order for it if there is one."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is None:
        return
    root = Path(directory)
    note(root, event=f"{phase}.{kind}", **facts)
    for name in os.listdir(root / ORDERS):  # noqa: PTH208 - names are all that is asked
        if name.startswith(f"{phase}.{kind}."):
            _obey(root, name, facts)


def polled() -> None:
    """This process has polled: sooner than a worker's status tells, which is written when something changes."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory is not None and (path := polled_file(Path(directory), os.getpid())) not in _TOLD:
        _TOLD.add(path)
        path.touch()


def polled_file(root: Path, pid: int) -> Path:
    return root / f"polled-{pid}"


_TOLD: set[Path] = set()


def note(root: Path, **facts: Any) -> None:
    """Add a line to the journal, whole: one write, behind all others."""
    line = json.dumps({"at": time.time(), "pid": os.getpid(), **facts}) + "\n"
    handle = os.open(root / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def _obey(root: Path, name: str, facts: dict[str, Any]) -> None:
    _, _, deed, number = name.split(".")
    try:
        (root / ORDERS / name).rename(root / f"taken-{number}")
    except FileNotFoundError:
        return  # another process was faster
    supervisor = int(os.environ[SUPERVISOR_VARIABLE])
    note(root, order=name, supervisor=supervisor, **facts)
    if deed == "kill-executor":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "kill-supervisor":
        os.kill(supervisor, signal.SIGKILL)
    elif deed == "stop-host":
        if supervisor != os.getpid():
            os.kill(supervisor, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
    if deed == "kill-supervisor" and int(number) % 2:  # the others go on, for as long as they are let
        time.sleep(END_SECONDS)
