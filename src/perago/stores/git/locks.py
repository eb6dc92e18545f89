"""The lock under which references are moved, and what a killed process leaves of git's own.

git locks a reference by a file `<ref>.lock`. A process that is killed while it holds one leaves it for ever, and then
nobody can publish again, git included. So we hold a lock of the kernel's (flock) around every move: it goes with its
owner, and the record in its file says which of git's locks a dead owner may have left.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perago.errors import StoreError
from perago.ports import Clock
from perago.stores.git.files import make_directories
from perago.stores.git.flock import acquire, peek
from perago.stores.git.repository import translated

_LOGGER = logging.getLogger("perago.stores.git")
_POLL_SECONDS = 0.01
_RECORD_LIMIT = 4096


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long is waited for a lock, in seconds.

    Attributes:
        ours: for other processes that publish, each for some milliseconds.
        git: for git's lock on a reference, before we give up.
        watch: how long a lock must stay untouched before it can be taken for a dead owner's.
        stale: age from which a lock that no dead publication of ours accounts for is taken for a dead git's. A live
            git holds one for milliseconds; with a hook on transactions, for as long as that takes.
    """

    ours: float = 60.0
    git: float = 75.0
    watch: float = 2.0
    stale: float = 60.0


@dataclass(frozen=True)
class Unfinished:
    """What a process that died in the middle was about to do.

    Attributes:
        locks: git's lock files that it may have left, relative to the repository.
        target: the id that it was writing into them; "" for a deletion.
    """

    locks: tuple[str, ...]
    target: str


class RefLock:
    """The lock on moving references of one repository, held by this process."""

    def __init__(self, repository_path: Path, descriptor: int, patience: Patience, clock: Clock) -> None:
        self._repository_path = repository_path
        self._descriptor = descriptor
        self._patience = patience
        self._clock = clock

    @contextmanager
    def moving(self, locks: tuple[str, ...], target: str) -> Iterator[None]:
        """Say in the lock file what is about to be done; a death before the end of this context leaves it there.

        Arguments as the attributes of `Unfinished`. What is in the way at `locks` is waited for, or removed.

        Raises:
            StoreError: somebody holds one of git's locks for too long.
        """
        for lock in locks:
            self.wait_for_git(lock)
        self._record(json.dumps({"locks": locks, "target": target}))
        try:
            yield
        finally:
            self._record("")

    def recover(self) -> None:
        """Remove the locks of git's that this lock's last owner left when it was killed."""
        left = _parse(os.pread(self._descriptor, _RECORD_LIMIT, 0))
        if left is None:
            return
        for lock in left.locks:
            self._remove_left(self._repository_path / lock, left.target)
        self._record("")

    def _record(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def _remove_left(self, path: Path, target: str) -> None:
        """A lock that holds the dead owner's id is its; an empty one too, if nobody comes to write into it."""
        seen = _state(path)
        for _ in self._watching(path):
            content = _content(path)
            if content and content != target:
                return  # a living git's
            if content:
                break
        if seen is not None and _state(path) == seen:
            _remove(path)

    def wait_for_git(self, lock: str) -> None:
        """Wait until nobody holds this lock of git's; one whose owner died is removed.

        Raises:
            StoreError: somebody holds it for too long.
        """
        path = self._repository_path / lock
        deadline = self._clock.monotonic() + self._patience.git
        is_told = False
        while (seen := _state(path)) is not None:
            for _ in self._watching(path):
                pass
            if _state(path) == seen and not is_told:
                is_told = True
                _LOGGER.warning(
                    "waiting for git to let go of %s; one that was killed is taken for dead when its lock is %g s old",
                    path,
                    self._patience.stale,
                )
            if _state(path) == seen and time.time() - seen.changed > self._patience.stale:
                _remove(path)
            elif self._clock.monotonic() > deadline:
                raise StoreError(
                    f"{path} has been held for {time.time() - seen.changed:.0f} s, so nothing can be published. "
                    f"If no git process is at work in the repository, remove that file"
                )

    def _watching(self, path: Path) -> Iterator[None]:
        """Go round until the lock changed or went, or stayed untouched for the time that tells."""
        seen, until = _state(path), self._clock.monotonic() + self._patience.watch
        while seen is not None and _state(path) == seen and self._clock.monotonic() < until:
            yield
            self._clock.sleep(_POLL_SECONDS)


def unfinished(repository_path: Path) -> Unfinished | None:
    """What a dead owner of the lock was about to do; None: nothing, or somebody has the lock. `hold` clears it up."""
    with suppress(BlockingIOError), peek(_lock_path(repository_path)) as descriptor:
        return None if descriptor is None else _parse(os.pread(descriptor, _RECORD_LIMIT, 0))
    return None


def is_moving(repository_path: Path) -> bool:
    """Whether a process holds the lock at this moment."""
    try:
        with peek(_lock_path(repository_path)):
            return False
    except BlockingIOError:
        return True


@contextmanager
def hold(repository_path: Path, patience: Patience, clock: Clock) -> Iterator[RefLock]:
    """Hold the lock on moving references.

    Raises:
        StoreError: others hold it for longer than `patience.ours`.
    """
    path = _lock_path(repository_path)
    with translated("locking the repository", repository_path):
        make_directories(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        acquire(descriptor, path, patience.ours, clock)
        try:
            lock = RefLock(repository_path, descriptor, patience, clock)
            lock.recover()
            yield lock
        finally:
            # Explicitly: a child forked meanwhile shares the lock, and closing would leave it with the child.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _lock_path(repository_path: Path) -> Path:
    return repository_path / "perago" / "publish.lock"


class _State(NamedTuple):
    inode: int
    changed: float


def _state(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(found.st_ino, found.st_mtime)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_RECORD_LIMIT).decode("ascii", "replace").strip()
    except OSError:
        return ""


def _remove(path: Path) -> None:
    seen = _state(path)
    if seen is not None:
        path.unlink(missing_ok=True)
        _LOGGER.warning("removed %s, left %.0f s ago by a process that was killed", path, time.time() - seen.changed)


def _parse(data: bytes) -> Unfinished | None:
    try:
        record = json.loads(data)
        return Unfinished(tuple(map(str, record["locks"])), str(record["target"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
