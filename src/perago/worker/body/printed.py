"""The output of a body, cut into lines."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MAX_LINES = 1000
"""Lines of one body that a worker forwards; it counts the others."""


_STANDARD = (1, 2)


_CHUNK_BYTES = 1024 * 1024


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

    def end(self) -> None:
        """End of the output: forward the last line, report the number of omitted lines, and reset."""
        if self._rest:
            self._take(self._rest)
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
    """The output of a body in this process, and of the processes it starts.

    It goes to a file until the body has ended. A pipe would have to be read while the body runs, and a body that prints
    from a C library may hold the interpreter lock while it waits for the reader.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("ab+", buffering=0)  # noqa: SIM115 - open until the process ends

    @contextmanager
    def to(self, printed: Printed) -> Iterator[None]:
        """Collect the output in the file while the context is open, then forward its lines."""
        kept = [os.dup(number) for number in _STANDARD]
        for number in _STANDARD:
            os.dup2(self._file.fileno(), number)
        try:
            yield
        finally:
            for stream in (sys.__stdout__, sys.__stderr__):
                if stream is not None:
                    with suppress(OSError, ValueError):  # closed by the body
                        stream.flush()
            for number, before in zip(_STANDARD, kept, strict=True):
                os.dup2(before, number)
                os.close(before)
            self._forward(printed)

    def _forward(self, printed: Printed) -> None:
        if os.fstat(self._file.fileno()).st_size:
            self._file.seek(0)
            while data := self._file.read(_CHUNK_BYTES):
                printed.feed(data)
            self._file.truncate(0)
        printed.end()
