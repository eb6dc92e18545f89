"""The process between an attempt and its body: it ends the body, and everything the body started.

It is small, runs no code of the task, and so can always act: also when the body holds the interpreter lock, and when
the attempt's process was killed outright. It leads a session of its own; the body leads a process group in it.

Orders come as single bytes over a socket pair; when the other end is gone, that is the order to kill. When all is over
it answers with the body's exit code (negative: the signal that ended it), packed as `EXIT_CODE`.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

TERMINATE = b"T"
KILL = b"K"
EXIT_CODE = struct.Struct(">i")

STRAYS_SECONDS = 5.0
"""How long killed processes may take to be gone; only one stuck in the kernel takes longer than milliseconds."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none is lost sight of. Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Have this process killed when its parent dies. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


def reap(body: int, control: socket.socket) -> None:
    """Carry out orders until the body has ended; then end what it left behind, and tell its exit code.

    Args:
        body: process id of the body, a child of this process and the leader of its group.
        control: where orders come from.
    """
    with _SignalNumbers() as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.reader, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        exit_code = _collect(body)
        while exit_code is None:
            ready = {key.fileobj for key, _ in selector.select()}
            if signals.reader in ready and signals.ask_to_end():
                _signal_body(body, signal.SIGKILL)
            if control in ready:
                order = _receive(control)
                _signal_body(body, signal.SIGTERM if order == TERMINATE else signal.SIGKILL)
                if not order:
                    selector.unregister(control)
            exit_code = _collect(body)
        _signal_group(body, signal.SIGKILL)  # the id is not another group's yet: process ids are handed out in turn
        end_children()
    with suppress(OSError):  # nobody is left to be told
        control.sendall(EXIT_CODE.pack(exit_code))


class _SignalNumbers:
    """The signals that this process gets, as bytes to read."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def __enter__(self) -> _SignalNumbers:
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        self.reader.close()
        self._writer.close()

    def ask_to_end(self) -> bool:
        """Take what came: did anyone ask this process to end?"""
        numbers = _receive(self.reader)
        return any(number != signal.SIGCHLD for number in numbers)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(4096)
    except BlockingIOError:
        return b""
    except OSError:  # the other end went with something unread
        return b""


def _collect(body: int) -> int | None:
    """Collect every child that has ended; the body's exit code if it is among them."""
    exit_code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return exit_code
        if pid == 0:
            return exit_code
        if pid == body:
            exit_code = os.waitstatus_to_exitcode(status)


def _signal_body(body: int, number: signal.Signals) -> None:
    _signal_group(body, number)
    with suppress(ProcessLookupError):
        if os.getpgid(body) != body:  # it left its group
            os.kill(body, number)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        os.killpg(leader, number)


def end_children(spared: Set[int] = frozenset()) -> bool:
    """Kill and collect the children of this process; whether any still ran.

    On Linux a process that adopts orphans has all its descendants among them, one after the other.

    Args:
        spared: ids of children that may go on, and do not count.
    """
    ran = False
    deadline = time.monotonic() + STRAYS_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            living = [child for child in children() if child not in spared]
            if not living:
                break
            ran = True
            for child in living:
                with suppress(OSError):  # gone meanwhile
                    os.kill(child, signal.SIGKILL)
            time.sleep(0.005)
    return ran


def children() -> Iterator[int]:
    """The ids of this process' children."""
    if sys.platform != "linux":
        import psutil

        yield from (child.pid for child in psutil.Process().children())
        return
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone meanwhile
            # "<pid> (<name, whatever it holds>) <state> <parent's pid> …": proc(5)
            _, parent = status.read_bytes().rpartition(b")")[2].split()[:2]
            if int(parent) == os.getpid():
                yield int(status.parent.name)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
