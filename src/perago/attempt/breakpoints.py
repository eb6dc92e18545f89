"""`breakpoint()` in a body without a debugger, and debuggers that are quit before the body has ended."""

from __future__ import annotations

import os
from typing import NoReturn

from perago.errors import TaskExecutionError

_VARIABLE = "PYTHONBREAKPOINT"
_REFUSING = f"{__name__}.refuse"


def let_breakpoints_stop(*, stop: bool) -> None:
    """Set whether `breakpoint()` may stop bodies in this process and in those it starts from now on.

    The user's own PYTHONBREAKPOINT is kept: it may name a debugger that needs no terminal.
    """
    if not stop:
        os.environ.setdefault(_VARIABLE, _REFUSING)
    elif os.environ.get(_VARIABLE) == _REFUSING:
        del os.environ[_VARIABLE]


def refuse(*_: object, **__: object) -> NoReturn:
    """The function that `breakpoint()` calls if no debugger has a terminal.

    Raises:
        TaskExecutionError
    """
    raise TaskExecutionError("the body called breakpoint(), but no debugger can be used here; use `perago run --debug`")


def is_quit(error: BaseException | None) -> bool:
    """Whether the error comes from quitting a debugger, by `q` or at the end of its input."""
    return type(error).__name__ == "BdbQuit" and type(error).__module__ == "bdb"


def quit_reason() -> str:
    """The reason of a failure by quitting a debugger."""
    hint = "; `perago run --debug` gives it a terminal" if os.environ.get(_VARIABLE) == _REFUSING else ""
    return f"the debugger was quit before the body ended{hint}"
