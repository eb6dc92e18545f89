"""Kills of a process at a call that changes a file while it claims, leaves or removes a warm workspace."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perago.workspace.warm import place

CALLS = ("rename", "mkdir", "unlink", "rmdir", "fchmod", "open")
"""Of `os`; `open` if it may create a file."""


def kill_in_warm(is_due: Callable[[str], bool]) -> None:
    """Kill this process before a call of which `is_due` says so, given its name, such as `keep.rename`."""
    here = threading.local()

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            what = getattr(here, "what", None)
            if what is not None and (real is not opens or arguments[1] & os.O_CREAT):
                here.what = None
                if is_due(f"{what}.{real.__name__}"):
                    os.kill(os.getpid(), signal.SIGKILL)
                here.what = what
            return real(*arguments, **options)

        return call

    def within(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def act(*arguments: Any) -> Any:
            here.what = name.strip("_")
            try:
                return real(*arguments)
            finally:
                here.what = None

        setattr(owner, name, act)

    opens = os.open
    for name in CALLS:
        setattr(os, name, noted(getattr(os, name)))
    within(place.WarmStay, "keep")
    within(place.WarmStay, "leave")
    within(place, "_delete")


def kill_by(order: Path) -> None:
    """Kill this process at the call whose number a file has, counted since the file is there. The file goes first."""
    count = [0]

    def is_due(_: str) -> bool:
        if not order.exists():
            count[0] = 0
            return False
        count[0] += 1
        if count[0] != int(order.read_text()):
            return False
        order.unlink()
        return True

    kill_in_warm(is_due)
