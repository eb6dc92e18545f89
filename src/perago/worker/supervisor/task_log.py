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

MAX_PENDING_TASKS = 1000
"""That have lines waiting: each costs a call of its own, and its task's input is held until then."""

MAX_ENTRY_CHARACTERS = 16 * 1024
"""Of one entry; the lines of a task that wait are sent as one."""

PAUSE_SECONDS = 0.25
"""Between two entries: at most four calls a second, whatever the tasks log."""

LEFT_OUT_SECONDS = 60.0
"""Between two lines in the worker's own log on what was left out of tasks that have no entry to say it in."""

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
        self._left_out = 0  # of tasks without an entry, and not told yet
        self._left_out_told = float("-inf")
        self._closing_at: float | None = None
        self._thread = threading.Thread(target=self._serve, name="perago-task-log", daemon=True)
        self._thread.start()

    def add(self, attempt: HandedOut, text: str) -> None:
        """Have a line sent; never waits."""
        line = text[:MAX_ENTRY_CHARACTERS]
        with self._changed:
            has_room = self._characters + len(line) <= MAX_PENDING_CHARACTERS
            pending = self._pending.get(attempt.task_id)
            if pending is None:
                if not has_room or len(self._pending) >= MAX_PENDING_TASKS:
                    self._left_out += 1  # an entry to say so would cost a call, and memory, as one with lines does
                    return
                pending = self._pending[attempt.task_id] = _Pending(attempt)
            if has_room:
                pending.lines.append(line)
                self._characters += len(line)
            else:
                pending.left_out += 1
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
                self._tell_left_out()
                self._rest()
        self._tell_left_out(is_end=True)

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

    def _tell_left_out(self, *, is_end: bool = False) -> None:
        now = time.monotonic()
        with self._changed:
            if not self._left_out or (now - self._left_out_told < LEFT_OUT_SECONDS and not is_end):
                return
            left_out, self._left_out, self._left_out_told = self._left_out, 0, now
        _LOGGER.warning("%d lines left out of the engine's task log: more tasks log than can be passed on", left_out)

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
