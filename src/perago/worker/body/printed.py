"""What a body prints, cut into lines."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

MAX_LINES = 1000
"""Lines of one body that a worker passes on; it says how many more there were."""

_STANDARD = (1, 2)
_CHUNK_BYTES = 1024 * 1024

MAX_LINE_BYTES = 16 * 1024
"""Of one line; what is longer is cut into several."""


class Printed:
    """Cuts bytes into lines and hands them on.

    A carriage return begins a line anew, as on a terminal: of a progress bar its last state is handed on.

    Args:
        tell: takes a line.
        max_lines: that are handed on. None: all.
    """

    def __init__(self, tell: Callable[[str], None], max_lines: int | None = None) -> None:
        self._tell = tell
        self._max_lines = max_lines
        self._lines = 0
        self._left_out = 0
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they were printed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        while len(self._rest) > MAX_LINE_BYTES:
            self._take(self._rest[:MAX_LINE_BYTES])
            self._rest = self._rest[MAX_LINE_BYTES:]

    def end(self) -> None:
        """There will be no more: hand on what has no end of line, and say what was left out. Then begin anew."""
        if self._rest:
            self._take(self._rest)
        if self._left_out:
            self._tell(f"[{self._left_out} more lines were printed and are left out]")
        self._rest, self._lines, self._left_out = b"", 0, 0

    def _take(self, line: bytes) -> None:
        if self._max_lines is not None and self._lines >= self._max_lines:
            self._left_out += 1
            return
        self._lines += 1
        self._tell(line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace"))


class PrintedHere:
    """What a body prints in this process, and in those that it starts.

    It goes to a file until the body has ended. A pipe would have to be read meanwhile, and a body that prints in a
    library in C may hold the interpreter lock for as long as it waits for that.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("ab+", buffering=0)  # noqa: SIM115 - for as long as the process lives

    @contextmanager
    def to(self, printed: Printed) -> Iterator[None]:
        """While it is entered, all that is printed goes to the file; then its lines are handed on."""
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
            self._hand_on(printed)

    def _hand_on(self, printed: Printed) -> None:
        if os.fstat(self._file.fileno()).st_size:
            self._file.seek(0)
            while data := self._file.read(_CHUNK_BYTES):
                printed.feed(data)
            self._file.truncate(0)
        printed.end()
