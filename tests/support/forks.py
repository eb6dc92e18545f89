"""Forks of a test's process. What runs in one ends there, whatever happens: it must not run the tests on."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable


def fork() -> int:
    """As `os.fork`, which warns from Python 3.12 on in a process with threads. Every one of pytest-xdist has some."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*use of fork", DeprecationWarning)
        return os.fork()


def exit_code_in_fork(function: Callable[[], object], seconds: float = 10.0) -> int | None:
    """0: the function returned, 1: it raised something; None: it did neither in time, and was killed."""
    child = fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
