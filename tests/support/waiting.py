"""Waiting for what must happen soon."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.machine import pause, slowness

SECONDS = 30.0
"""Timeout on a quiet machine. A test that passes does not use it up."""


def wait_for(holds: Callable[[], object], what: str | Callable[[], str] = "it", seconds: float = SECONDS) -> None:
    """Poll until it holds.

    Args:
        what: what is waited for, for the message; a function is called when the time is over.
        seconds: on a quiet machine; a busy one has longer.

    Raises:
        AssertionError: it did not hold in time.
    """
    seconds *= slowness()
    began = time.monotonic()
    deadline = began + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s for {what if isinstance(what, str) else what()}")
        pause(began)
