"""What code does in a fork of a test's process, which ends there whatever happens: it must not run the tests on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable


def exit_code_in_fork(function: Callable[[], object], seconds: float = 10.0) -> int | None:
    """0: the function returned, 1: it raised something; None: it did neither in time, and was killed."""
    child = os.fork()
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
