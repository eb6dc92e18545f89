"""`breakpoint()` in a body that nobody debugs, and debuggers that are left before their body has ended."""

from __future__ import annotations

import os
from typing import NoReturn

from perago.errors import TaskExecutionError

_VARIABLE = "PYTHONBREAKPOINT"
_REFUSING = f"{__name__}.refuse"


def let_breakpoints_stop(*, stop: bool) -> None:
    """Say whether `breakpoint()` may stop bodies, here and in the processes that begin from now on.

    A variable PYTHONBREAKPOINT of the user's own is left as it is: it may name a debugger that needs no terminal.
    """
    if not stop:
        os.environ.setdefault(_VARIABLE, _REFUSING)
    elif os.environ.get(_VARIABLE) == _REFUSING:
        del os.environ[_VARIABLE]


def refuse(*_: object, **__: object) -> NoReturn:
    """What `breakpoint()` calls where no debugger has a terminal.

    Raises:
        TaskExecutionError
    """
    raise TaskExecutionError(
        "the body called breakpoint(), and no debugger can be used here; `perago run --debug` runs it where one can"
    )


def is_quit(error: BaseException | None) -> bool:
    """Whether a debugger was left, by its `q` or at the end of its input."""
    return type(error).__name__ == "BdbQuit" and type(error).__module__ == "bdb"


def quit_reason() -> str:
    """What is said of that."""
    hint = "; `perago run --debug` gives it a terminal" if os.environ.get(_VARIABLE) == _REFUSING else ""
    return f"the debugger was left before the body had ended{hint}"
