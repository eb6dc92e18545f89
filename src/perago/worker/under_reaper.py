"""How a process that is to be ended whole begins: it splits into the reaper and the process that does the work.

Only the standard library is loaded here, so that the reaper stays small.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress

from perago.worker.reaper import adopt_orphans, die_with, reap


def run_under_reaper(channel_handle: int, control_handle: int, work: Callable[[socket.socket], None]) -> None:
    """Become the reaper of a new process that does the work.

    Args:
        channel_handle: socket over which the worker talks with whoever started this process.
        control_handle: socket over which the reaper gets its orders.
        work: called in the new process, with the channel.
    """
    channel = _own(channel_handle)
    control = _own(control_handle)
    adopt_orphans()
    this = os.getpid()
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        die_with(this)
        control.close()
        work(channel)
    else:
        with suppress(OSError):  # done on both sides; it may be further already
            os.setpgid(worker, worker)
        channel.close()
        reap(worker, control)


def _own(handle: int) -> socket.socket:
    """A handle that came with this process, and goes to none that it starts."""
    os.set_inheritable(handle, False)
    return socket.socket(fileno=handle)
