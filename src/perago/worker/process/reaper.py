"""The reaper: a process that ends another process and everything it started.

A reaper is small and runs no task code, so it can always act, even if the watched process holds the interpreter lock or
the ordering process was killed. It leads a session of its own; the watched process leads a process group in it.

Orders are single bytes over a socket pair; a closed socket is the order to kill. At the end the reaper answers with the
exit code (negative for a signal) and the id of a descendant that it could not end (else 0), packed as `END`.

It imports only the standard library to stay small.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from pathlib import Path

TERMINATE = b"T"
KILL = b"K"
END = struct.Struct(">iI")

STRAYS_SECONDS = 5.0
"""Seconds for killed processes to end. They take milliseconds, except one that is stuck in the kernel or has become
another user."""

TRACKER_SECONDS = 5.0
"""Seconds for a resource tracker to remove its program's leftovers: shared memory and folders of mapped arrays."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

_TRACKER = b"resource_tracker import main"
"""Text in the command lines of multiprocessing's and loky's resource trackers."""

_PAUSE_SECONDS = 0.002


def run_under_reaper(channel_handle: int, control_handle: int, work: Callable[[socket.socket], None]) -> None:
    """Start a process that does the work, and become its reaper.

    Args:
        channel_handle: socket between the new process and the caller.
        control_handle: socket for orders to the reaper.
        work: called in the new process, which ends as Python does when it returns.
    """
    channel = own_socket(channel_handle)
    control = own_socket(control_handle)
    adopt_orphans()
    reaper = os.getpid()
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        die_with(reaper)
        control.close()
        work(channel)
    else:
        with suppress(OSError):  # both sides do it; the child may be ahead
            os.setpgid(process, process)
        channel.close()
        _reap(process, control)


def own_socket(handle: int) -> socket.socket:
    """An inherited handle as a socket that is not inherited further."""
    os.set_inheritable(handle, False)
    return socket.socket(fileno=handle)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none is lost. Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int) -> None:
    """Let the system kill this process when its parent dies. Linux only."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os.kill(os.getpid(), signal.SIGKILL)


def _reap(process: int, control: socket.socket) -> None:
    """Carry out orders until the process has ended; then end its descendants and send its exit code."""
    with SignalNumbers() as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.reader, selectors.EVENT_READ)
        selector.register(control, selectors.EVENT_READ)
        ended: dict[int, int] = {}
        collect(ended)
        while process not in ended:
            ready = {key.fileobj for key, _ in selector.select()}
            if signals.reader in ready and signals.ask_to_end():
                _kill_tree(process)
            if control in ready:
                orders = receive(control)
                carry_out(orders, process)
                if not orders:
                    selector.unregister(control)
            collect(ended)
        end_children()
        signal_group(process, signal.SIGKILL)  # its id is not reused yet: ids are assigned in turn
        left = next(iter(living_children()), 0)
    with suppress(OSError):  # the caller has ended
        control.sendall(END.pack(ended[process], left))


class SignalNumbers:
    """The signals that this process receives, as bytes to read. Restores the handlers on exit."""

    _NUMBERS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._handlers = {number: signal.getsignal(number) for number in self._NUMBERS}

    def __enter__(self) -> SignalNumbers:
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._NUMBERS:
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            if handler is not None:  # None for a handler of a C library, which is lost
                signal.signal(number, handler)
        self.reader.close()
        self._writer.close()

    def ask_to_end(self) -> bool:
        """Read the pending signals; returns whether one asks this process to end."""
        numbers = receive(self.reader)
        return any(number != signal.SIGCHLD for number in numbers)


def receive(source: socket.socket) -> bytes:
    """The received bytes; b"" if the other end is closed."""
    try:
        return source.recv(4096)
    except BlockingIOError:
        return b""
    except OSError:  # the other end was closed with unread data
        return b""


def collect(ended: dict[int, int]) -> bool:
    """Collect the children that have ended, with id and exit code. Returns whether others are left."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
            ended[pid] = os.waitstatus_to_exitcode(status)
    except ChildProcessError:
        return False


def carry_out(orders: bytes, process: int) -> None:
    """Carry out orders for a process; b"" means that the caller has ended."""
    if KILL in orders or not orders:
        _kill_tree(process)
    elif TERMINATE in orders:
        signal_group(process, signal.SIGTERM)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a process and its group, or only the process if it has left its group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
        os.killpg(leader, number)
    with suppress(ProcessLookupError, PermissionError):  # it has become another user
        if os.getpgid(leader) != leader:
            os.kill(leader, number)


def _kill_tree(process: int) -> None:
    """Kill a process and its group. On Linux its forks die with it; elsewhere they have to be found before."""
    below: list[int] = []
    if sys.platform != "linux":
        import psutil

        with suppress(psutil.Error):
            below = [child.pid for child in psutil.Process(process).children(recursive=True)]
    signal_group(process, signal.SIGKILL)
    for pid in below:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def end_children(spared: Set[int] = frozenset(), ended: dict[int, int] | None = None) -> bool:
    """Kill and collect the children of this process; returns whether any was still running. Gives up after
    `STRAYS_SECONDS`; what then lives is in `living_children`.

    On Linux a process that adopts orphans gets all its descendants, one after the other. A resource tracker comes last
    and does not count: it removes its program's shared memory after the whole program has ended.

    Args:
        spared: ids of children that continue, and do not count.
        ended: receives the exit codes of the collected children, as in `collect`.
    """

    def running() -> list[int]:
        return living_children(spared, ended)

    def strays() -> list[int]:
        return [child for child in running() if not _is_tracker(child)]

    if not running():
        return False
    ran = bool(strays())
    if not _kill(strays):
        return ran
    deadline = time.monotonic() + TRACKER_SECONDS
    while running() and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    _kill(running)
    return ran


def living_children(spared: Set[int] = frozenset(), ended: dict[int, int] | None = None) -> list[int]:
    """The ids of this process's running children; collects the others. Args as `end_children`."""
    is_any_left = collect({} if ended is None else ended)
    return [child for child in children() if child not in spared] if is_any_left else []


def _kill(targets: Callable[[], list[int]]) -> bool:
    """Kill processes until none is left; returns False if some are after `STRAYS_SECONDS`."""
    deadline = time.monotonic() + STRAYS_SECONDS
    while living := targets():
        if time.monotonic() >= deadline:
            return False
        for pid in living:
            with suppress(OSError):  # it has ended, or has become another user
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    return True


def children() -> Iterator[int]:
    """The ids of this process's children, including ended ones that are not collected."""
    if sys.platform != "linux":
        import psutil

        yield from (child.pid for child in psutil.Process().children())
    elif Path("/proc/thread-self/children").exists():
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # the thread has ended
                yield from map(int, (thread / "children").read_bytes().split())
    else:  # a kernel without that file
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                # "<pid> (<any name>) <state> <parent's pid> …": proc(5)
                _, parent = status.read_bytes().rpartition(b")")[2].split()[:2]
                if int(parent) == os.getpid():
                    yield int(status.parent.name)


def _is_tracker(pid: int) -> bool:
    """Whether a process is the resource tracker of multiprocessing or loky."""
    try:
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
