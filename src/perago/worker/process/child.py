"""The caller's side of a child process: start it, exchange messages, signal it, wait for its end. No policy here."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from perago.errors import TaskExecutionError
from perago.worker.process import reaper
from perago.worker.process.messages import CHUNK_BYTES, Decoder
from perago.worker.process.zygote import CANCEL, SOURCES

GONE_SECONDS = 2 * reaper.STRAYS_SECONDS + reaper.TRACKER_SECONDS
"""Seconds for a killed process and its children to be collected, before its reaper is killed, too."""

_STDERR = 2
_TICK_SECONDS = 0.05


class Process(ABC):
    """A child process with its descendants, and the channel to it. A context manager that ends them on exit.

    Args:
        channel: for messages to and from the process.
        control: to its reaper or zygote: sends orders, receives the exit code.

    Attributes:
        exit_code: exit code of the process, negative for a signal; None while it runs. Once set, no process is left,
            except `left_running`.
        left_running: id of a descendant that could not be ended; 0 if there is none.
    """

    def __init__(self, channel: socket.socket, control: socket.socket) -> None:
        self.exit_code: int | None = None
        self.left_running = 0
        self._outgoing = bytearray()
        self._is_writing = False
        self._decoder = Decoder()
        self._channel = channel
        self._control = control
        with ExitStack() as undo:
            try:
                self._selector = undo.enter_context(selectors.DefaultSelector())
                self._alarm, self._bell = map(undo.enter_context, socket.socketpair())
            except OSError as exc:
                raise _not_started(exc) from exc
            undo.pop_all()
        for own in (self._channel, self._alarm, self._bell):
            own.setblocking(False)
        self._selector.register(self._channel, selectors.EVENT_READ, self._talk)
        self._selector.register(self._control, selectors.EVENT_READ, self._take_exit_code)
        self._selector.register(self._alarm, selectors.EVENT_READ, self._wake_up)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._end()
        except KeyboardInterrupt:  # end it again, so that no process is left
            self._end()
            raise
        finally:
            self._close()

    def send(self, data: bytes) -> None:
        """Send bytes to the process. The next calls of `poll` send the rest that it does not take now."""
        self._outgoing += data
        self._write()

    def poll(self, seconds: float | None) -> list[object]:
        """Wait for messages or a call of `wake`; returns the messages received, as JSON values.

        Args:
            seconds: timeout; None means no limit.

        Raises:
            TaskExecutionError: the data is not a message, for example because a body wrote to Perago's descriptors.
        """
        messages: list[object] = []
        for key, events in self._selector.select(seconds):
            messages += key.data(events)
        return messages

    def wake(self) -> None:
        """Make `poll` return; for other threads."""
        with suppress(OSError):  # enough calls are pending to wake it anyway, or it is closed
            self._bell.send(b"w")

    def terminate(self) -> None:
        """Send SIGTERM to its process group."""
        self._order(reaper.TERMINATE)

    def kill(self) -> None:
        """Send SIGKILL to its process group."""
        self._order(reaper.KILL)

    @abstractmethod
    def _end(self) -> None:
        """Kill it if it still runs, and wait for its end."""

    @abstractmethod
    def _exit_code_unheard(self) -> int | None:
        """The exit code if its reaper or zygote ended without sending one; None if it is known later."""

    def _close(self) -> None:
        self._selector.close()
        for own in (self._channel, self._alarm, self._bell):
            own.close()

    def _order(self, order: bytes) -> None:
        with suppress(OSError):  # it has ended: its exit code is on the way
            self._control.send(order)

    def _talk(self, events: int) -> list[object]:
        if events & selectors.EVENT_WRITE:
            self._write()
        return self._decode(self._read()) if events & selectors.EVENT_READ else []

    def _wake_up(self, _events: int) -> list[object]:
        self._alarm.recv(CHUNK_BYTES)
        return []

    def _take_exit_code(self, _events: int) -> list[object]:
        packed = b""
        with suppress(ConnectionError):  # it was killed with an order unread
            packed = self._control.recv(reaper.END.size)
        self._selector.unregister(self._control)
        if len(packed) == reaper.END.size:
            self.exit_code, self.left_running = reaper.END.unpack(packed)
        else:  # the reaper or zygote was killed, and the process with it
            self.exit_code = self._exit_code_unheard()
        return self._receive_rest()

    def _receive_rest(self) -> list[object]:
        messages: list[object] = []
        while data := self._read():
            messages += self._decode(data)
        return messages

    def _decode(self, data: bytes) -> list[object]:
        try:
            return list(self._decoder.feed(data))
        except ValueError as exc:
            raise TaskExecutionError(f"the body's process sent an invalid message: {exc}") from None

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
        except ConnectionError:  # the process has ended, as its exit code will tell
            sent = len(self._outgoing)
        del self._outgoing[:sent]
        if self._is_writing != bool(self._outgoing):
            self._watch_channel()

    def _watch_channel(self) -> None:
        self._is_writing = bool(self._outgoing)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._is_writing else 0)
        with suppress(KeyError):  # the body has closed it
            self._selector.modify(self._channel, events, self._talk)

    def _forget_channel(self) -> None:
        with suppress(KeyError):
            self._selector.unregister(self._channel)


class ChildProcess(Process):
    """A process in a fresh interpreter, under a reaper of its own.

    Args:
        module: run as `python -m <module> <channel> <control> …`; it calls `reaper.run_under_reaper`.
        handles: further sockets for the process; their numbers are its last arguments.

    Raises:
        TaskExecutionError: no process could be started.
    """

    def __init__(self, module: str, handles: Sequence[socket.socket] = ()) -> None:
        with ExitStack() as undo:
            try:
                channel, far_channel = map(undo.enter_context, socket.socketpair())
                control, far_control = map(undo.enter_context, socket.socketpair())
                super().__init__(channel, control)
                undo.callback(self._close)
                self._process = _start(module, [far_channel, far_control, *handles])
            except OSError as exc:
                raise _not_started(exc) from exc
            undo.pop_all()
        far_channel.close()
        far_control.close()

    def _end(self) -> None:
        self._control.close()  # the order to kill what is left
        try:
            self._process.wait(GONE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exit_code_unheard(self) -> int:
        return self._process.wait()


class Offspring(Process):
    """A process that a zygote has started.

    Args:
        orders: to the zygote, which runs one such process at a time.
        order: `zygote.FORK` or `zygote.SPAWN`.
        zygote: the zygote, if this process has started it: its messages come with those of its offspring, and its end
            is theirs. None if this process ends with the zygote.
        on_output: receives the process's stdout and stderr; called by `poll`.

    Raises:
        TaskExecutionError: no process could be started.
    """

    def __init__(
        self, orders: socket.socket, order: bytes, zygote: Process | None, on_output: Callable[[bytes], None]
    ) -> None:
        self._zygote = zygote
        self._on_output = on_output
        with ExitStack() as undo:
            try:
                channel, far_channel = map(undo.enter_context, socket.socketpair())
                reader, writer = os.pipe()
                self._output = undo.enter_context(open(reader, "rb", buffering=0))  # noqa: PTH123 - a descriptor
                far_output = undo.enter_context(open(writer, "wb", buffering=0))  # noqa: PTH123 - the same
                super().__init__(channel, orders)
                undo.callback(self._close)
                os.set_blocking(reader, False)
                self._selector.register(self._output, selectors.EVENT_READ, self._take_output)
                with suppress(ConnectionError):  # the zygote has ended
                    socket.send_fds(orders, [order], [far_channel.fileno(), writer])
            except OSError as exc:
                raise _not_started(exc) from exc
            undo.pop_all()
        far_channel.close()
        far_output.close()

    def cancel(self) -> None:
        """Set its flag of cancellation."""
        self._order(CANCEL)

    def poll(self, seconds: float | None) -> list[object]:
        messages = super().poll(seconds)
        if self._zygote is None:
            return messages
        messages += self._zygote.poll(0)
        if self.exit_code is None:
            self.exit_code = self._zygote.exit_code
        return messages

    def _take_output(self, _events: int) -> list[object]:
        data = self._output.read(CHUNK_BYTES)
        if data:
            self._on_output(data)
        elif data is not None:  # all writers have closed it
            self._selector.unregister(self._output)
        return []

    def _receive_rest(self) -> list[object]:
        while data := self._output.read(CHUNK_BYTES):
            self._on_output(data)
        return super()._receive_rest()

    def _close(self) -> None:
        super()._close()
        self._output.close()

    def _end(self) -> None:
        if self.exit_code is None:
            self.kill()
        deadline = time.monotonic() + GONE_SECONDS
        while self.exit_code is None and time.monotonic() < deadline:
            with suppress(TaskExecutionError):  # ignore its last messages
                self.poll(_TICK_SECONDS)

    def _exit_code_unheard(self) -> int | None:
        return self._zygote.exit_code if self._zygote else -signal.SIGKILL


def _not_started(exc: OSError) -> TaskExecutionError:
    return TaskExecutionError(f"the body's process could not be started: {exc}")


def _start(module: str, handles: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
    """Run a module in a process, in the directory of this package, so that it is found with any `sys.path`.

    It changes to the caller's directory when it receives it.
    """
    numbers = [handle.fileno() for handle in handles]
    return subprocess.Popen(  # noqa: S603 - this interpreter and a module of Perago
        [sys.executable, "-m", module, *map(str, numbers)],
        cwd=SOURCES,
        pass_fds=numbers,
        stdin=subprocess.DEVNULL,
        stdout=_STDERR,  # the caller's stdout is for its result
        start_new_session=True,
    )
