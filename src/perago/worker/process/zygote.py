"""A process that has loaded what many processes need, and starts them on order, one at a time.

Its only connection is the one for orders, which are single bytes. The order to start a process comes with a socket for
it and a pipe for its output; further orders are for that process, as in `reaper`. After the process and its descendants
have ended, the zygote answers as a reaper does. It also keeps the output of its companion, see `kept_output`. It ends
with its caller.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn

from perago.worker.process.kept_output import FOLLOW, HAND_OVER, Keeper
from perago.worker.process.reaper import (
    END,
    SignalNumbers,
    adopt_orphans,
    carry_out,
    children,
    collect,
    die_with,
    end_children,
    living_children,
    own_socket,
    signal_group,
)
from perago.worker.process.shared_flag import SharedFlag

FORK = b"F"
SPAWN = b"S"
CANCEL = b"C"

SOURCES = Path(__file__).parents[3]
"""Directory of the package, in which a new interpreter finds it with any `sys.path`."""

_STDOUT, _STDERR = 1, 2
_THREADS = Path("/proc/self/task")
_ALLOCATOR = b"jemalloc_bg_thd"
_THREAD_GONE_SECONDS = 0.1  # the kernel lists a thread a moment longer than it can be joined
_HANDLED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def serve(
    orders: socket.socket,
    cancelled: SharedFlag,
    fresh: str,
    *,
    may_fork: bool,
    handed: Sequence[int] = (),
    companion: int | None = None,
) -> socket.socket:
    """Start a process for each order. Returns only in forks, with the socket that came with the order.

    A fork has the signal handlers that this process had before the call, leads a process group, and dies with this
    process.

    Args:
        cancelled: cleared for each new process, set when that process is cancelled.
        fresh: module of a spawned process, run as `python -m <fresh> <socket> <handle of the flag> […]`.
        may_fork: fork processes instead of spawning them, unless this process has several threads (`has_threads`).
        handed: handles of files for a spawned process; their numbers are its last arguments.
        companion: id of a child that sends the orders. This process ends with it, in the same way.
    """
    adopt_orphans()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])  # changes nothing, returns the current mask
    with SignalNumbers() as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.reader, selectors.EVENT_READ)
        selector.register(orders, selectors.EVENT_READ)
        channel = _Zygote(orders, cancelled, fresh, handed, companion, may_fork=may_fork).serve(signals, selector)
    orders.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return channel


def has_threads() -> bool:
    """Whether this process has threads whose locks its forks would wait for.

    Threads of C libraries count, too: a fork of a process that has used OpenMP hangs if it uses OpenMP. If there are
    threads, one trial fork shows which ones stay, because OpenBLAS ends its own before a fork. PyArrow's allocator has
    a thread that survives forks.
    """
    if not _THREADS.is_dir():
        return threading.active_count() > 1
    if _count_threads() == 1:
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + _THREAD_GONE_SECONDS
    while _count_threads() > 1 and time.monotonic() < deadline:
        time.sleep(0.001)
    return _count_threads() > 1


def _count_threads() -> int:
    count = 0
    for name in _THREADS.glob("*/comm"):
        with suppress(OSError):  # the thread has ended
            count += name.read_bytes().rstrip() != _ALLOCATOR
    return count


class _Zygote:
    def __init__(
        self,
        orders: socket.socket,
        cancelled: SharedFlag,
        fresh: str,
        handed: Sequence[int],
        companion: int | None,
        *,
        may_fork: bool,
    ) -> None:
        self._orders = orders
        self._cancelled = cancelled
        self._fresh = fresh
        self._handed = handed
        self._companion = companion
        self._may_fork = may_fork
        self._process: int | None = None
        self._keeper: Keeper | None = None
        self._ended: dict[int, int] = {}
        self._spared = frozenset(children())  # the companion, and processes that modules started on import

    def serve(self, signals: SignalNumbers, selector: selectors.BaseSelector) -> socket.socket:
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            # A signal to the group is meant for the companion, if there is one: wait for its end.
            if signals.reader in ready and signals.ask_to_end() and self._companion is None:
                self._end(-signal.SIGKILL)
            collect(self._ended)
            self._spared -= self._ended.keys()  # ids are reused
            if self._process is not None and self._process in self._ended:
                self._tell_end(self._process)
            if self._companion is not None and self._companion in self._ended:
                self._end(self._ended[self._companion])
            if self._keeper is not None and self._keeper.reader in ready and self._keeper.read() == b"":
                selector.unregister(self._keeper.reader)
            if self._orders in ready:
                channel = self._take_order(selector)
                if channel is not None:
                    return channel

    def _take_order(self, selector: selectors.BaseSelector) -> socket.socket | None:
        """Carry out one order; returns a socket only in a fork."""
        order, handles = b"", list[int]()
        with suppress(ConnectionError):
            order, handles, _, _ = socket.recv_fds(self._orders, 1, 2)
        if order == FOLLOW and handles:
            self._keeper = Keeper(handles[0], SharedFlag(handles[1]))
            selector.register(self._keeper.reader, selectors.EVENT_READ)
            return None
        if order == HAND_OVER and self._keeper is not None:
            self._keeper.hand_over(self._orders)
            return None
        if handles and self._process is None:
            return self._start(own_socket(handles[0]), handles[1], order)
        if not order and self._companion is not None:  # it has ended and will be collected
            _, status = os.waitpid(self._companion, 0)
            self._end(os.waitstatus_to_exitcode(status))
        if not order or handles:  # the caller has ended, or orders a process although the last one cannot be ended
            self._end(1)
        if self._process is not None:
            if order == CANCEL:
                self._cancelled.set()
            else:
                carry_out(order, self._process)
        return None

    def _start(self, channel: socket.socket, output: int, order: bytes) -> socket.socket | None:
        self._ended.clear()  # ids are reused
        self._cancelled.clear()
        with channel, open(output, "wb", buffering=0) as output_file:
            if order == FORK and self._may_fork and not has_threads():
                pid = self._fork()
                if pid == 0:
                    if self._keeper is not None:
                        self._keeper.close()
                    os.dup2(output, _STDOUT)
                    os.dup2(output, _STDERR)
                    return channel.dup()
            else:
                pid = self._spawn(channel, output_file)
        with suppress(OSError):  # both sides do it; the child may be ahead
            os.setpgid(pid, pid)
        self._process = pid
        return None

    def _fork(self) -> int:
        zygote = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)  # in the fork, until it has its own handlers
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            die_with(zygote)
        else:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        return pid

    def _spawn(self, channel: socket.socket, output: IO[bytes]) -> int:
        handles = (channel.fileno(), self._cancelled.handle, *self._handed)
        process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of Perago
            [sys.executable, "-m", self._fresh, *map(str, handles)],
            cwd=SOURCES,
            pass_fds=handles,
            stdout=output,
            stderr=output,
            process_group=0,
        )
        process.returncode = 0  # collected with all other children
        return process.pid

    def _tell_end(self, process: int) -> None:
        """End the descendants of the process, and answer."""
        end_children(self._spared, self._ended)
        signal_group(process, signal.SIGKILL)  # its id is not reused yet: ids are assigned in turn
        left = living_children(self._spared, self._ended)
        self._spared |= set(left)  # told once: the next body has not started them
        self._process = None
        with suppress(OSError):  # the caller has ended
            self._orders.sendall(END.pack(self._ended.pop(process), next(iter(left), 0)))

    def _end(self, exit_code: int) -> NoReturn:
        """End this process and its descendants, with the exit code or signal of another one."""
        end_children()
        if exit_code < 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # only the other one's core dump is of use
            with suppress(OSError, ValueError):  # a signal that cannot be handled
                signal.signal(-exit_code, signal.SIG_DFL)
            os.kill(os.getpid(), -exit_code)
        os._exit(exit_code if exit_code >= 0 else 1)
