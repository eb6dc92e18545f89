"""The command line: its entry point, the code that commands share, and folders for commands and `run`.

Startup imports only click; each command imports what it needs when it runs. May import everything below.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

__all__ = ["main"]


def main(*, by_module: bool = False) -> NoReturn:
    """The `perago` program.

    Args:
        by_module: started by `python -m perago`.
    """
    _leave_out_current_directory(by_module=by_module)
    from perago.cli.app import run_program

    run_program()


def _leave_out_current_directory(*, by_module: bool) -> None:
    """Import nothing of Perago's from the current directory, which may be anybody's.

    `python -m` puts it first, and so does an entry of PYTHONPATH that is empty or ".". `loading.find_modules_here` adds
    it for task modules. An absolute path in PYTHONPATH stays.
    """
    with suppress(OSError):  # the directory no longer exists, which the command reports
        here = os.getcwd()  # noqa: PTH109 - sys.path holds strings
        if by_module and not sys.flags.safe_path and sys.path[:1] == [here]:
            del sys.path[0]
        given = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
        if given and here in sys.path and not {"", "."}.isdisjoint(given.split(os.pathsep)):
            sys.path.remove(here)
