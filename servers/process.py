"""A server process that never outlives its parent, even if the parent is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

from servers.machine import slowness

STOP_SECONDS = 30.0
LOOK_SECONDS = 0.02


class ServerFailedError(RuntimeError):
    """A server did not start, or ended unexpectedly."""


class ServerProcess:
    """A command under a guard; see guard.py.

    Args:
        command: program and arguments.
        log: file to append its output to.
        remove: its working directory, to remove if this process ends without stopping the server. Default: this
            process's own, which stays.
        environment: all its environment variables.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        remove: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        guard = [sys.executable, "-S", "-E", str(Path(__file__).with_name("guard.py"))]
        if remove is not None:
            guard += ["--remove", str(remove)]
        self._log = log
        with log.open("ab") as errors:
            self._guard = subprocess.Popen(
                [*guard, "--", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=remove,  # PostgreSQL, as another user, must be able to enter it
                env=dict(os.environ if environment is None else environment),
            )
        assert self._guard.stdout is not None
        first = self._guard.stdout.readline()
        if not first:
            self._forget()
            raise ServerFailedError(f"{command[0]} could not be started:\n{self.log_tail()}")
        self.pid = int(first)

    def running(self) -> bool:
        return self._guard.poll() is None

    def terminate(self) -> None:
        """Send SIGTERM and wait for the end; after half a minute send SIGKILL and raise."""
        self._order(b"T")
        try:
            self._wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailedError(f"process {self.pid} did not end within {STOP_SECONDS:.0f} s of SIGTERM") from None

    def kill(self) -> None:
        """Send SIGKILL to the server and its children, and wait for the end."""
        self._order(b"K")
        self._wait()

    def log_tail(self, characters: int = 4_000) -> str:
        """The end of the server's log."""
        return self._log.read_text(errors="replace")[-characters:]

    def _order(self, order: bytes) -> None:
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(order)
            self._guard.stdin.flush()
        except (BrokenPipeError, ValueError):
            return  # it has ended already

    def _wait(self) -> None:
        self._guard.wait(timeout=STOP_SECONDS)
        self._forget()

    def _forget(self) -> None:
        self._guard.wait(timeout=STOP_SECONDS)
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # an order that was not read


def free_port() -> int:
    """A loopback port that was free a moment ago. Another program may take it first, so the caller must check."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], server: ServerProcess, *, seconds: float, what: str) -> None:
    """Poll until a condition holds.

    Raises:
        ServerFailedError: the server ended, or the time is over. The message has the end of its log.
    """
    deadline = monotonic() + seconds * slowness()
    while not condition():
        if not server.running():
            raise ServerFailedError(f"{what}: the server ended.\n{server.log_tail()}")
        if monotonic() > deadline:
            raise ServerFailedError(f"{what}: not within {seconds:.0f} s.\n{server.log_tail()}")
        sleep(LOOK_SECONDS)
