"""A thread that does a piece of work again and again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

_LOGGER = logging.getLogger("perago.worker")

FAULT_PAUSE_SECONDS = 1.0
"""After work that raised what it should not."""


class Loop:
    """Does the work, waits for as long as the work says, and does it again; owned by whoever made it, who stops it.

    What the work raises is logged, and the work is done again after a second: such a thread must not die unseen.

    Args:
        name: of the thread.
        work: returns the seconds until the next turn, any number of them; None: until `nudge`.
    """

    def __init__(self, name: str, work: Callable[[], float | None]) -> None:
        self._name = name
        self._work = work
        self._changed = threading.Condition()
        self._nudged = False
        self._stopping = False
        self._turn_began: float | None = None
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Have the next turn begin now."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def turn_seconds(self) -> float:
        """How long the turn takes that is under way; 0 between two."""
        began = self._turn_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self, seconds: float | None = None) -> bool:
        """No further turn; waits for the one under way, and says whether it has ended.

        Args:
            seconds: to wait at most; None: as long as it takes, which the work bounds.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while not self._stopping:
            self._turn_began = time.monotonic()
            pause = self._turn()
            self._turn_began = None
            wait = None if pause is None else min(pause, threading.TIMEOUT_MAX)
            with self._changed:
                self._changed.wait_for(lambda: self._nudged or self._stopping, wait)
                self._nudged = False

    def _turn(self) -> float | None:
        try:
            return self._work()
        except Exception:
            _LOGGER.exception("%s failed, and is tried again", self._name)
            return FAULT_PAUSE_SECONDS
