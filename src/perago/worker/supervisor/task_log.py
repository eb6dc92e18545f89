"""Send a task's log lines and progress to the engine's task log, with limits on the rate and on waiting lines."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from perago.errors import EngineError
from perago.ports import HandedOut

_LOGGER = logging.getLogger("perago.worker")

MAX_PENDING_CHARACTERS = 256 * 1024
"""Limit for all tasks together. Further lines are left out; a note in the log says how many."""

MAX_PENDING_TASKS = 1000
"""Limit on tasks with waiting lines: each needs a call of its own and keeps its task's input in memory."""

MAX_ENTRY_CHARACTERS = 16 * 1024
"""Limit on one entry. All waiting lines of a task are sent as one entry."""

PAUSE_SECONDS = 0.25
"""Pause between two entries: at most four calls a second."""

LEFT_OUT_SECONDS = 60.0
"""Minimum time between two lines in the worker's log on left-out lines of tasks that have no entry."""

CLOSE_SECONDS = 3.0
"""Time limit for sending the last lines at the end."""


@dataclass
class _Pending:
    """Waiting lines of one task."""

    attempt: HandedOut
    lines: list[str] = field(default_factory=list)
    left_out: int = 0


class TaskLog:
    """Takes lines from any thread and sends them from its own thread.

    Args:
        send: adds an entry to a task's log; may raise EngineError.
    """

    def __init__(self, send: Callable[[HandedOut, str], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._characters = 0
        self._left_out = 0  # lines of tasks without an entry, not logged yet
        self._left_out_told = float("-inf")
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name="perago-task-log", daemon=True)
        self._thread.start()

    def add(self, attempt: HandedOut, text: str) -> None:
        """Queue a line; never blocks."""
        line = text[:MAX_ENTRY_CHARACTERS]
        with self._changed:
            has_room = self._characters + len(line) <= MAX_PENDING_CHARACTERS
            pending = self._pending.get(attempt.task_id)
            if pending is None:
                if not has_room or len(self._pending) >= MAX_PENDING_TASKS:
                    self._left_out += 1  # an entry that says so would cost as much as one with lines
                    return
                pending = self._pending[attempt.task_id] = _Pending(attempt)
            if has_room:
                pending.lines.append(line)
                self._characters += len(line)
            else:
                pending.left_out += 1
            self._changed.notify()

    def close(self, seconds: float | None = None) -> bool:
        """Send waiting lines for at most `CLOSE_SECONDS`, then end the thread. Returns whether it has ended.

        Args:
            seconds: the longest wait; None: as long as a call of the engine takes. Call it again to go on waiting.
        """
        with self._changed:
            if self._closing_at is None:
                self._closing_at = time.monotonic() + CLOSE_SECONDS
            self._changed.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        while (entry := self._take()) is not None:
            attempt, text = entry
            try:
                self._send(attempt, text)
            except EngineError:
                continue  # not retried: the line is in the worker's own log
            except Exception:  # the thread must not die silently
                _LOGGER.exception("lines could not be added to the log of task %s", attempt.task_id)
            finally:
                self._tell_left_out()
                self._rest()
        self._tell_left_out(is_end=True)

    def _take(self) -> tuple[HandedOut, str] | None:
        """The next entry; None: end the thread."""
        with self._changed:
            while not self._pending:
                if self._closing_at is not None:
                    return None
                self._changed.wait()
            if self._closing_at is not None and time.monotonic() >= self._closing_at:
                return None
            task_id, pending = self._pending.popitem(last=False)
            text, rest = _entry(pending)
            self._characters -= sum(map(len, pending.lines)) - sum(map(len, rest))
            if rest:
                self._pending[task_id] = _Pending(pending.attempt, rest, pending.left_out)
            return pending.attempt, text

    def _tell_left_out(self, *, is_end: bool = False) -> None:
        now = time.monotonic()
        with self._changed:
            if not self._left_out or (now - self._left_out_told < LEFT_OUT_SECONDS and not is_end):
                return
            left_out, self._left_out, self._left_out_told = self._left_out, 0, now
        _LOGGER.warning("%d lines left out of the engine's task log: too many tasks log at once", left_out)

    def _rest(self) -> None:
        with self._changed:
            if self._closing_at is None:
                self._changed.wait_for(lambda: self._closing_at is not None, PAUSE_SECONDS)


def _entry(pending: _Pending) -> tuple[str, list[str]]:
    """The text of one entry, and the lines that do not fit into it."""
    count, size = 0, 0
    for line in pending.lines:
        if count and size + len(line) + 1 > MAX_ENTRY_CHARACTERS:
            break
        count, size = count + 1, size + len(line) + 1
    text = "\n".join(pending.lines[:count])
    rest = pending.lines[count:]
    if pending.left_out and not rest:
        note = f"[{pending.left_out} lines left out: the task logged too much]"
        text = f"{text}\n{note}" if text else note
    return text, rest
