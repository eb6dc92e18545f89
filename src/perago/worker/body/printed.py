"""The output of a body, cut into lines."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from perago.worker.process.kept_output import KeptOutput

MAX_LINES = 1000
"""Lines of one body that a worker forwards; it counts the others."""


_STANDARD = (1, 2)


MAX_LINE_BYTES = 16 * 1024
"""Maximum length of a line; a longer one is split."""


class Printed:
    """Splits output into lines and forwards them.

    A carriage return starts the line again, as on a terminal, so that only the last state of a progress bar is
    forwarded.

    Args:
        tell: receives a line.
        max_lines: maximum lines to forward. Default: all.
    """

    def __init__(self, tell: Callable[[str], None], max_lines: int | None = None) -> None:
        self._tell = tell
        self._max_lines = max_lines
        self._lines = 0
        self._left_out = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take printed bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        while len(self._rest) > MAX_LINE_BYTES:
            self._take(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]

    def end(self, left_out: int = 0) -> None:
        """End of the output: forward the last line, report the number of omitted lines, and reset.

        Args:
            left_out: lines behind the last byte that was fed, which continue its line.
        """
        if self._rest:
            self._take(self._rest)
        self._left_out += left_out - bool(left_out and self._rest)
        if self._left_out:
            self._tell(f"[{self._left_out} more lines were printed but not logged]")
        self._rest, self._lines, self._left_out = b"", 0, 0

    def _take(self, line: bytes) -> None:
        if self._max_lines is not None and self._lines >= self._max_lines:
            self._left_out += 1
            return
        self._lines += 1
        self._tell(line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace"))


class PrintedHere:
    """The output of a body in this process, and of the processes it starts. The zygote keeps it until the body ends.

    Args:
        orders: to the zygote.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._kept = KeptOutput(orders)

    @contextmanager
    def to(self, printed: Printed) -> Iterator[None]:
        """Keep the output while the context is open, then forward its lines."""
        before = [os.dup(number) for number in _STANDARD]
        for number in _STANDARD:
            os.dup2(self._kept.writer, number)
        try:
            yield
        finally:
            for stream in (sys.__stdout__, sys.__stderr__):
                if stream is not None:
                    with suppress(OSError, ValueError):  # closed by the body
                        stream.flush()
            for number, was in zip(_STANDARD, before, strict=True):
                os.dup2(was, number)
                os.close(was)
            data, lines_left_out = self._kept.take()
            printed.feed(data)
            printed.end(lines_left_out)
