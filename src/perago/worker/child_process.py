"""The caller's end of a process that runs bodies: start it, talk with it, signal it, see it gone. No policy in here."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import perago
from perago.errors import TaskExecutionError
from perago.worker import reaper
from perago.worker.messages import CHUNK_BYTES, Decoder

GONE_SECONDS = 2 * reaper.STRAYS_SECONDS
"""How long a killed body may take to be collected, before the process that should do so is killed too."""

BODY = "perago.worker.body_child"
EXECUTOR = "perago.worker.executor_child"

_STDERR = 2


class ChildProcess:
    """A process that runs bodies, with everything it starts, and the channel to it. A context manager; on leaving, all
    is ended.

    Args:
        module: what is run; see `under_reaper`.

    Attributes:
        exit_code: of the process, negative for a signal; None while it runs. Once it is set, no process is left.

    Raises:
        TaskExecutionError: no process could be started.
    """

    def __init__(self, module: str = BODY) -> None:
        self.exit_code: int | None = None
        self._outgoing = bytearray()
        self._is_writing = False
        self._decoder = Decoder()
        with ExitStack() as undo:
            try:
                self._channel, far_channel = map(undo.enter_context, socket.socketpair())
                self._control, far_control = map(undo.enter_context, socket.socketpair())
                self._selector = undo.enter_context(selectors.DefaultSelector())
                self._alarm, self._bell = map(undo.enter_context, socket.socketpair())
                self._process = _start(module, far_channel, far_control)
            except OSError as exc:
                raise TaskExecutionError(f"no process could be started for the body: {exc}") from exc
            undo.pop_all()
        far_channel.close()
        far_control.close()
        for own in (self._channel, self._alarm, self._bell):
            own.setblocking(False)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._alarm, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._control.close()  # the order to kill what is left
        try:
            self._await_end()
        except KeyboardInterrupt:  # it is being ended; a moment more, so that nothing is left behind
            self._await_end()
            raise
        finally:
            self._selector.close()
            for own in (self._channel, self._alarm, self._bell):
                own.close()

    def send(self, data: bytes) -> None:
        """Send bytes to the process; what it does not take now, the next calls of `poll` send."""
        self._outgoing += data
        self._write()

    def poll(self, seconds: float | None) -> list[object]:
        """Wait until something comes, or `wake` is called, at most that long; the messages that came, as JSON values.

        Args:
            seconds: None: no bound.

        Raises:
            TaskExecutionError: what came is no message; a body that writes into our descriptors does that.
        """
        messages: list[object] = []
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._control:
                self._take_exit_code()
                messages += self._receive_rest()
                continue
            if key.fileobj is self._alarm:
                self._alarm.recv(CHUNK_BYTES)
                continue
            if events & selectors.EVENT_WRITE:
                self._write()
            if events & selectors.EVENT_READ:
                messages += self._decode(self._read())
        return messages

    def wake(self) -> None:
        """Let `poll` return; for other threads."""
        with suppress(OSError):  # so many calls have not been taken yet that it wakes anyway, or it is closed
            self._bell.send(b"w")

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self._order(reaper.TERMINATE)

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self._order(reaper.KILL)

    def _await_end(self) -> None:
        try:
            self._process.wait(GONE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _order(self, order: bytes) -> None:
        with suppress(OSError):  # gone already: its exit code is under way
            self._control.send(order)

    def _take_exit_code(self) -> None:
        packed = b""
        with suppress(ConnectionError):  # it was killed with an order unread
            packed = self._control.recv(reaper.EXIT_CODE.size)
        self._selector.unregister(self._control)
        if len(packed) == reaper.EXIT_CODE.size:
            (self.exit_code,) = reaper.EXIT_CODE.unpack(packed)
        else:  # somebody killed it, and with it the body
            self.exit_code = self._process.wait()

    def _receive_rest(self) -> list[object]:
        messages: list[object] = []
        while data := self._read():
            messages += self._decode(data)
        return messages

    def _decode(self, data: bytes) -> list[object]:
        try:
            return list(self._decoder.feed(data))
        except ValueError as exc:
            raise TaskExecutionError(f"the body's process sent what is no message: {exc}") from None

    def _read(self) -> bytes:
        try:
            data = self._channel.recv(CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except ConnectionError:
            data = b""
        if not data:
            self._forget_channel()
        return data

    def _write(self) -> None:
        try:
            sent = self._channel.send(self._outgoing)
        except BlockingIOError:
            sent = 0
        except ConnectionError:  # the body has gone; its exit code tells
            sent = len(self._outgoing)
        del self._outgoing[:sent]
        if self._is_writing != bool(self._outgoing):
            self._watch_channel()

    def _watch_channel(self) -> None:
        self._is_writing = bool(self._outgoing)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_writing else 0)
        with suppress(KeyError):  # the body has closed it
            self._selector.modify(self._channel, events)

    def _forget_channel(self) -> None:
        with suppress(KeyError):
            self._selector.unregister(self._channel)


def _start(module: str, channel: socket.socket, control: socket.socket) -> subprocess.Popen[bytes]:
    """Start a module as a process, in the directory of this very package, so that it is found whatever `sys.path`.

    It goes to the caller's directory when it has been told which that is.
    """
    handles = (channel.fileno(), control.fileno())
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", module, *map(str, handles)],
        cwd=Path(perago.__file__).parent.parent,
        pass_fds=handles,
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,  # the caller's stdout is for its result
        start_new_session=True,
    )
