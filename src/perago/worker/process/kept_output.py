"""The output of a process that keeps running: its zygote reads it, and hands it over on order.

The process cannot read it itself: code that prints from a C library may hold the interpreter lock while it waits for a
reader, and a file would grow with what is printed. The zygote keeps the beginning in memory and counts the lines of the
rest.

It imports only the standard library, as `reaper` does.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import termios

from perago.worker.process.shared_flag import SharedFlag

FOLLOW = b"O"
"""Order to a zygote: read the pipe that comes with it, and set the flag that comes with it before anything is read."""

HAND_OVER = b"P"
"""Order to a zygote: answer with what was printed."""

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Output that is kept until it is handed over: as much as a worker forwards of one body."""

_HEAD = struct.Struct(">QQ")
"""Answer: number of lines that were left out, number of bytes that follow."""

_CHUNK_BYTES = 1024 * 1024


class Keeper:
    """The zygote's side.

    Args:
        reader: end of the pipe, owned by this object.
        has_output: set before output is read, cleared when it has been handed over.
    """

    def __init__(self, reader: int, has_output: SharedFlag) -> None:
        self.reader = reader
        self._has_output = has_output
        self._kept = bytearray()
        self._lines_left_out = 0
        self._is_line_open = False
        os.set_blocking(reader, False)

    def read(self) -> bytes | None:
        """Read once; returns what was read: b"" if all that print have ended, None if they print nothing now."""
        self._has_output.set()
        try:
            data = os.read(self.reader, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        room = MAX_KEPT_BYTES - len(self._kept)
        self._kept += data[:room]
        rest = data[room:]
        if rest:
            self._lines_left_out += rest.count(b"\n")
            self._is_line_open = not rest.endswith(b"\n")
        return data

    def hand_over(self, orders: socket.socket) -> None:
        """Send all that was printed before the order, and forget it."""
        while self.read():
            pass
        orders.sendall(_HEAD.pack(self._lines_left_out + self._is_line_open, len(self._kept)))
        orders.sendall(self._kept)
        self._kept, self._lines_left_out, self._is_line_open = bytearray(), 0, False
        self._has_output.clear()

    def close(self) -> None:
        os.close(self.reader)
        self._has_output.close()


class KeptOutput:
    """The side of the process that prints.

    Args:
        orders: to its zygote.

    Attributes:
        writer: end of the pipe, to become stdout and stderr.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._has_output = SharedFlag()
        self._reader, self.writer = os.pipe()
        socket.send_fds(orders, [FOLLOW], [self._reader, self._has_output.handle])

    def take(self) -> tuple[bytes, int]:
        """The output since the last call, and the number of lines after it that were left out."""
        waiting = array.array("i", [0])
        fcntl.ioctl(self._reader, termios.FIONREAD, waiting)
        if not waiting[0] and not self._has_output.is_set():  # in this order: the zygote sets it before it reads
            return b"", 0
        self._orders.sendall(HAND_OVER)
        lines_left_out, size = _HEAD.unpack(self._receive(_HEAD.size))
        return self._receive(size), lines_left_out

    def close(self) -> None:
        os.close(self._reader)
        os.close(self.writer)
        self._has_output.close()

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            more = self._orders.recv(min(size - len(data), _CHUNK_BYTES))
            if not more:
                raise EOFError("the zygote has ended, and this process will")
            data += more
        return bytes(data)
