"""The host's queue: attempts that write one branch take turns, first come, first served.

Each attempt holds the lock on a ticket, a file whose name has the branch's key and a number. Its turn has come when no
lower ticket of the branch is locked. A lock ends with its process, so a killed attempt leaves the queue at once.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from perago.errors import RuntimeConfigError
from perago.files.lock import FileLock, is_held_by_anybody
from perago.files.private_directory import make_private
from perago.ports import BranchQueue, Clock, SystemClock, Turn, no_queue
from perago.values.backoff import backoff
from perago.values.models import WorkspaceInput

_LOGGER = logging.getLogger("perago.queue")

WAIT_SECONDS = 60.0
"""Longest wait for a turn. Then the attempt publishes without one."""

TURN_SECONDS = 10.0
"""Longest turn that others wait for. A stopped process, or one that waits for its store, holds up nobody for longer."""

_POLL_SECONDS, _MOST_POLLS = 0.005, 10
"""Pause between two looks, times the number of tickets ahead. A turn takes longer."""
_TOUCH_SECONDS = 1.0
"""How often a waiting attempt shows that it is not stopped."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
"""Pauses after lost swaps, jittered: another host has moved the branch, and may go on."""

_LOCK_FILE = "lock"
"""Held for some system calls, while a ticket gets its number."""

_KEY_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Waiting times in seconds; see the constants."""

    wait: float = WAIT_SECONDS
    turn: float = TURN_SECONDS


@dataclass(frozen=True)
class HostQueue:
    """`BranchQueue` of the attempts that share a directory: those of one user on one host.

    If the directory cannot be used, or has no locks, nobody waits.

    Attributes:
        directory: created for this user only.
        place: the server, or the repository on disk. Attempts of one place wait for each other.
        is_server: whether the place has several repositories, which the inputs name.
    """

    directory: Path
    place: str
    is_server: bool
    clock: Clock = field(default_factory=SystemClock, compare=False)
    patience: Patience = field(default_factory=Patience)

    @contextmanager
    def __call__(self, target: WorkspaceInput, is_cancelled: Callable[[], bool], /) -> Iterator[Turn]:
        """See `BranchQueue`."""
        deadline = self.clock.monotonic() + self.patience.wait
        ticket = None
        with suppress(OSError, RuntimeConfigError):
            ticket = self._draw(self._key(target), deadline)
        try:
            if ticket is not None and not self._wait(ticket, deadline, is_cancelled):
                _LOGGER.info(
                    "did not wait longer for %d others that publish to branch %s", len(ticket.ahead()), target.branch
                )
            yield _HostTurn(ticket, self.clock)
        finally:
            if ticket is not None:
                ticket.give_up()

    def _key(self, target: WorkspaceInput) -> str:
        names = (self.place, target.repository if self.is_server else "", target.branch)
        return hashlib.sha256("\0".join(names).encode()).hexdigest()[:_KEY_DIGITS]

    def _draw(self, key: str, deadline: float) -> _Ticket | None:
        """Take the next number of a branch."""
        make_private(self.directory, "the directory of the queues")
        while (lock := FileLock.try_acquire(self.directory / _LOCK_FILE)) is None:
            if self.clock.monotonic() > deadline:
                return None
            self.clock.sleep(_POLL_SECONDS)
        with lock:
            _sweep(self.directory)
            number = max(_numbers(self.directory, key), default=0) + 1
            held = FileLock.try_acquire(_path(self.directory, key, number))
        return None if held is None else _Ticket(self.directory, key, number, held, self.patience.turn)

    def _wait(self, ticket: _Ticket, deadline: float, is_cancelled: Callable[[], bool]) -> bool:
        """Wait for the turn; returns whether it has come."""
        touch_at = self.clock.monotonic()
        while any(map(ticket.is_ahead, ahead := ticket.ahead())):
            now = self.clock.monotonic()
            if now > deadline or is_cancelled():
                return False
            if now >= touch_at:
                ticket.touch()
                touch_at = now + _TOUCH_SECONDS
            self.clock.sleep(_POLL_SECONDS * min(len(ahead), _MOST_POLLS))
        ticket.touch()
        return True


def host_queue(directory: Path | None, place: str, *, is_server: bool) -> BranchQueue:
    """The queue in the user's state directory; none if the user has no such directory."""
    if directory is None:
        return no_queue
    return HostQueue(directory / "queue", place if is_server else os.path.realpath(place), is_server)


@dataclass(frozen=True)
class _Ticket:
    """A place in the queue of one branch, while the lock on its file is held."""

    directory: Path
    key: str
    number: int
    held: FileLock
    turn_seconds: float

    @property
    def path(self) -> Path:
        return _path(self.directory, self.key, self.number)

    def touch(self) -> None:
        """Show the others that this process is not stopped."""
        with suppress(OSError):
            os.utime(self.path)

    def ahead(self) -> list[int]:
        """Lower numbers, the nearest first."""
        with suppress(OSError):
            return sorted(
                (number for number in _numbers(self.directory, self.key) if number < self.number), reverse=True
            )
        return []

    def is_ahead(self, number: int) -> bool:
        """Whether a lower ticket's turn comes first. Removes it if its owner is dead."""
        path = _path(self.directory, self.key, number)
        try:
            if is_held_by_anybody(path):
                return time.time() - path.stat().st_mtime < self.turn_seconds
            path.unlink()
        except OSError:
            pass  # its owner has just removed it
        return False

    def give_up(self) -> None:
        """Leave the queue."""
        with suppress(OSError):
            self.path.unlink()
        self.held.release()


@dataclass(frozen=True)
class _HostTurn:
    ticket: _Ticket | None
    clock: Clock

    def lost(self, times: int) -> None:
        """See `Turn`."""
        pause = backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, times - 1) * random.random()  # noqa: S311 - spreads load, not for security
        self.clock.sleep(pause)
        if self.ticket is not None:
            self.ticket.touch()


def _path(directory: Path, key: str, number: int) -> Path:
    return directory / f"{key}-{number}"


def _sweep(directory: Path) -> None:
    """Remove tickets of dead processes, of any branch. Only for the holder of the directory's lock."""
    for path in directory.iterdir():
        if path.name != _LOCK_FILE and not is_held_by_anybody(path):
            path.unlink(missing_ok=True)


def _numbers(directory: Path, key: str) -> list[int]:
    """The tickets of a branch."""
    return [int(path.name.removeprefix(f"{key}-")) for path in directory.iterdir() if path.name.startswith(f"{key}-")]
