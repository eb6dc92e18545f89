"""A task's own lines and its progress, sent to the engine's task log: bounded in rate and in what may wait."""

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
"""Of all tasks together; what comes on top is left out, and that is told."""

MAX_ENTRY_CHARACTERS = 16 * 1024
"""Of one entry; the lines of a task that wait are sent as one."""

PAUSE_SECONDS = 0.25
"""Between two entries: at most four calls a second, whatever the tasks log."""

CLOSE_SECONDS = 3.0
"""How long the end waits for what is left."""


@dataclass
class _Pending:
    """Lines of one task that wait."""

    attempt: HandedOut
    lines: list[str] = field(default_factory=list)
    left_out: int = 0


class TaskLog:
    """Takes lines from any thread, and sends them from one of its own.

    Args:
        send: adds an entry to a task's log; it may raise EngineError.
    """

    def __init__(self, send: Callable[[HandedOut, str], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._characters = 0
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name="perago-task-log", daemon=True)
        self._thread.start()

    def add(self, attempt: HandedOut, text: str) -> None:
        """Have a line sent; never waits."""
        with self._changed:
            pending = self._pending.setdefault(attempt.task_id, _Pending(attempt))
            line = text[:MAX_ENTRY_CHARACTERS]
            if self._characters + len(line) > MAX_PENDING_CHARACTERS:
                pending.left_out += 1
            else:
                pending.lines.append(line)
                self._characters += len(line)
            self._changed.notify()

    def close(self, seconds: float | None = None) -> bool:
        """Send what waits, for a while, and end; says whether it has ended.

        Args:
            seconds: to wait for that at most; None: as long as a call of the engine takes. What has not ended by then
                can be waited for by another call.
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
                continue  # a line is not worth more: it stands in the worker's own log
            except Exception:  # such a thread must not die unseen
                _LOGGER.exception("lines could not be added to the log of task %s", attempt.task_id)
            finally:
                self._rest()

    def _take(self) -> tuple[HandedOut, str] | None:
        """The next entry; None: it is time to end."""
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

    def _rest(self) -> None:
        with self._changed:
            if self._closing_at is None:
                self._changed.wait_for(lambda: self._closing_at is not None, PAUSE_SECONDS)


def _entry(pending: _Pending) -> tuple[str, list[str]]:
    """As many lines as go into one entry, and those that do not."""
    count, size = 0, 0
    for line in pending.lines:
        if count and size + len(line) + 1 > MAX_ENTRY_CHARACTERS:
            break
        count, size = count + 1, size + len(line) + 1
    text = "\n".join(pending.lines[:count])
    rest = pending.lines[count:]
    if pending.left_out and not rest:
        note = f"[{pending.left_out} lines left out: more was logged than is passed on]"
        text = f"{text}\n{note}" if text else note
    return text, rest
