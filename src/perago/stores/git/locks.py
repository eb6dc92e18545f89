"""The lock for moving references, and the removal of git's own locks after a kill.

git locks a reference with a file `<ref>.lock`. A process that is killed leaves the file behind, and then neither Perago
nor git can write the reference. Every move therefore holds a kernel lock (flock), which ends with its owner. A record
in the lock's file names the git locks that a dead owner may have left.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from perago.errors import StoreError
from perago.files.lock import peek, try_lock, unlock_and_close
from perago.ports import Clock
from perago.stores.git.files import make_directories
from perago.stores.git.repository import translated

_LOGGER = logging.getLogger("perago.stores.git")
_POLL_SECONDS = 0.01
_RECORD_LIMIT = 4096


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Waiting times for locks, in seconds.

    Attributes:
        ours: for other processes that publish, each for some milliseconds.
        git: for git's lock on a reference.
        watch: how long a lock must be unchanged before it can count as a dead owner's.
        stale: age from which a lock counts as a dead git's, if no dead publication of Perago's explains it. A live git
            holds a lock for milliseconds; with a transaction hook, until the hook ends.
    """

    ours: float = 60.0
    git: float = 75.0
    watch: float = 2.0
    stale: float = 60.0


@dataclass(frozen=True)
class Unfinished:
    """What a process was doing when it died.

    Attributes:
        locks: git lock files that it may have left, relative to the repository.
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
        """Record the planned move in the lock file. If the process dies within this context, the record remains.

        Arguments as the attributes of `Unfinished`. Waits for existing `locks`, or removes stale ones.

        Raises:
            StoreError: another process holds one of git's locks for too long.
        """
        for lock in locks:
            self.wait_for_git(lock)
        self._record(json.dumps({"locks": locks, "target": target}))
        try:
            yield
        finally:
            self._record("")

    def recover(self) -> None:
        """Remove git's locks that the previous owner left when it was killed."""
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
        """Remove a lock that contains the dead owner's id, or that is empty and stays unchanged."""
        seen = _state(path)
        for _ in self._watching(path):
            content = _content(path)
            if content and content != target:
                return  # a live git's
            if content:
                break
        if seen is not None and _state(path) == seen:
            _remove(path)

    def wait_for_git(self, lock: str) -> None:
        """Wait until this git lock is free. Removes it if its owner is dead.

        Raises:
            StoreError: it is held for too long.
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
                    "waiting for git to release %s; it counts as left by a killed process when it is %g s old",
                    path,
                    self._patience.stale,
                )
            if _state(path) == seen and time.time() - seen.changed > self._patience.stale:
                _remove(path)
            elif self._clock.monotonic() > deadline:
                raise StoreError(
                    f"{path} has been held for {time.time() - seen.changed:.0f} s, so nothing can be published. "
                    f"If no git process is running in the repository, remove that file"
                )

    def _watching(self, path: Path) -> Iterator[None]:
        """Yield repeatedly until the lock changes, is gone, or has been unchanged for `watch` seconds."""
        seen, until = _state(path), self._clock.monotonic() + self._patience.watch
        while seen is not None and _state(path) == seen and self._clock.monotonic() < until:
            yield
            self._clock.sleep(_POLL_SECONDS)


def unfinished(repository_path: Path) -> Unfinished | None:
    """What a dead owner of the lock was doing; None if nothing, or if the lock is held. `hold` cleans up after it."""
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
        lock = RefLock(repository_path, descriptor, patience, clock)
        lock.recover()
        yield lock
    finally:
        unlock_and_close(descriptor)


def acquire(descriptor: int, path: Path, seconds: float, clock: Clock, *, shared: bool = False) -> None:
    """Lock an open file, and wait for other holders.

    Args:
        path: of the file, for messages.
        shared: allow other shared holders.

    Raises:
        StoreError: others hold it for longer than `seconds`, or the file system has no locks.
    """
    deadline = clock.monotonic() + seconds
    while True:
        try:
            if try_lock(descriptor, shared=shared):
                return
        except OSError as exc:
            raise StoreError(f"{path} cannot be locked: {exc.strerror}. Keep the repository on a local disk") from exc
        if clock.monotonic() > deadline:
            raise StoreError(
                f"{path} has been locked by other processes for {seconds:.0f} s, so nothing can be published. "
                f"Look for a stopped Perago process (`{shlex.join(['fuser', str(path)])}`), or run the task again"
            )
        clock.sleep(_POLL_SECONDS)


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
