"""The output of a body, cut into lines, with secrets masked."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from perago.values.redaction import MARGIN_LENGTH, mask_lines, mask_text
from perago.worker.process.kept_output import KeptOutput

MAX_LINES = 1000
"""Lines of one body that a worker forwards; it counts the others."""


_STANDARD = (1, 2)


MAX_LINE_BYTES = 16 * 1024
"""Maximum length of a line; a longer one is split."""


class Printed:
    """Splits output into lines and forwards them, secrets masked.

    The end of a long line that goes on is kept until more of it is there, as it can be the beginning of a secret.

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
        lines, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._take_lines(lines)
        while len(self._rest) > MAX_LINE_BYTES + MARGIN_LENGTH and self._split():
            continue

    def end(self, left_out: int = 0) -> None:
        """End of the output: forward the last line, report the number of omitted lines, and reset.

        Args:
            left_out: lines behind the last byte that was fed, which continue its line.
        """
        if self._rest:
            self._take_lines(self._rest)
        self._left_out += left_out - bool(left_out and self._rest)
        if self._left_out:
            self._tell(f"[{self._left_out} more lines were printed but not logged]")
        self._rest, self._lines, self._left_out = b"", 0, 0

    @property
    def _room(self) -> int | None:
        """Lines that may still be forwarded; None for any number."""
        return None if self._max_lines is None else self._max_lines - self._lines

    def _take_lines(self, data: bytes) -> None:
        if self._room is not None:
            lines = data.split(b"\n", self._room)
            if len(lines) > self._room:
                self._left_out += lines.pop().count(b"\n") + 1
            if not lines:
                return
            data = b"\n".join(lines)
        for line in mask_lines(data.decode(errors="surrogateescape")).split("\n"):
            self._take(line)

    def _split(self) -> bool:
        """Forward the beginning of a line that goes on. Returns whether it was long enough."""
        if self._room == 0:
            self._left_out += 1
            self._rest = self._rest[MAX_LINE_BYTES:]
            return True
        text = mask_text(self._rest.decode(errors="surrogateescape"))
        at = min(MAX_LINE_BYTES, len(text) - MARGIN_LENGTH)  # its characters can have several bytes
        if at > 0:
            self._take(text[:at])
            self._rest = text[at:].encode(errors="surrogateescape")
        return at > 0

    def _take(self, line: str) -> None:
        self._lines += 1
        shown = line.rstrip("\r").rpartition("\r")[2]
        self._tell(shown.encode(errors="surrogateescape").decode(errors="replace"))


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
