"""Entry of a body's process: `python -m perago.worker.body_child <channel> <control>`, started by `child_process`.

It splits in two before anything else happens: the reaper, which stays as it is, and the process that runs the body.
Only the standard library is loaded here, so that the reaper stays small.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress

from perago.worker.reaper import adopt_orphans, die_with, reap


def main(channel_handle: int, control_handle: int) -> None:
    """Become the reaper of a new process that runs the body."""
    channel = _own(channel_handle)
    control = _own(control_handle)
    adopt_orphans()
    this = os.getpid()
    body = os.fork()
    if body == 0:
        os.setpgid(0, 0)
        die_with(this)
        control.close()
        _run_body(channel)
    else:
        with suppress(OSError):  # done on both sides; it may be further already
            os.setpgid(body, body)
        channel.close()
        reap(body, control)


def _own(handle: int) -> socket.socket:
    """A handle that came with this process, and goes to none that it starts."""
    os.set_inheritable(handle, False)
    return socket.socket(fileno=handle)


def _run_body(channel: socket.socket) -> None:
    from perago.worker.body_main import run_body

    run_body(channel)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
