"""Runs a server for another process, and ends it when that process ends in any way.

usage: python -S -E guard.py [--remove DIRECTORY] -- COMMAND...

Prints the server's process id. Reads orders of one byte from standard input: T sends SIGTERM to the server, K sends
SIGKILL to its process group. Ends with the server. When the input or the parent process ends, the server's group gets
SIGTERM and five seconds later SIGKILL, and DIRECTORY is removed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time

GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.05
"""Interval of checks whether the server has ended: a process cannot wait for a pipe and a child at once."""


def main() -> None:
    arguments = sys.argv[1:]
    directory = None
    if arguments[0] == "--remove":
        directory, arguments = arguments[1], arguments[2:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the parent process decides; the pipe shows its end
    owner = os.getppid()
    server = subprocess.Popen(
        arguments[1:],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=_prepare_child,  # noqa: PLW1509 - there is only one thread
        process_group=0,
    )
    print(server.pid, flush=True)
    if not _obey(server, owner):
        _end(server)
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


def _prepare_child() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":  # in case the guard itself is killed
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _obey(server: subprocess.Popen[bytes], owner: int) -> bool:
    """Carry out orders; returns True when the server has ended, False when the owner has."""
    while server.poll() is None:
        if select.select([0], [], [], LOOK_SECONDS)[0]:
            order = os.read(0, 1)
            if not order:
                return False
            _signal(server, signal.SIGKILL if order == b"K" else signal.SIGTERM)
        elif os.getppid() != owner:
            return False
    return True


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            os.killpg(server.pid, number)
        else:
            server.send_signal(number)


def _end(server: subprocess.Popen[bytes]) -> None:
    _signal(server, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


if __name__ == "__main__":
    main()
