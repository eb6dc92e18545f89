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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pygit2

from perago.errors import StoreError
from perago.files.beneath import READ
from perago.files.lock import try_lock, unlock_and_close
from perago.ports import Clock
from perago.stores.git.files import RepositoryFiles
from perago.stores.git.repository import BareRepository, translated

_LOGGER = logging.getLogger("perago.stores.git")
_POLL_SECONDS = 0.01
_RECORD_LIMIT = 4096
_LOCK = "perago/publish.lock"
_LOCK_MODE = 0o666
_SUFFIX = ".lock"

PACKED_REFS_LOCK = "packed-refs.lock"
"""git's lock on the file of packed references."""


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
    """The lock on moving references of one repository, held by this process.

    Attributes:
        files: the repository's.
    """

    def __init__(
        self, repository_path: Path, files: RepositoryFiles, descriptor: int, patience: Patience, clock: Clock
    ) -> None:
        self._repository_path = repository_path
        self.files = files
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
            self._remove_left(lock, left.target)
        self._record("")

    def _record(self, text: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)

    def _remove_left(self, lock: str, target: str) -> None:
        """Remove a lock that contains the dead owner's id, or that is empty and stays unchanged."""
        seen = self._state(lock)
        for _ in self._watching(lock):
            content = self._content(lock)
            if content and content != target:
                return  # a live git's
            if content:
                break
        if seen is not None and self._state(lock) == seen:
            self._remove(lock)

    def wait_for_git(self, lock: str) -> None:
        """Wait until this git lock is free. Removes it if its owner is dead.

        Raises:
            StoreError: it is held for too long.
        """
        path = self._repository_path / lock
        deadline = self._clock.monotonic() + self._patience.git
        is_told = False
        while (seen := self._state(lock)) is not None:
            for _ in self._watching(lock):
                pass
            if self._state(lock) == seen and not is_told:
                is_told = True
                _LOGGER.warning(
                    "waiting for git to release %s; it counts as left by a killed process when it is %g s old",
                    path,
                    self._patience.stale,
                )
            if self._state(lock) == seen and time.time() - seen.changed > self._patience.stale:
                self._remove(lock)
            elif self._clock.monotonic() > deadline:
                raise StoreError(
                    f"{path} has been held for {time.time() - seen.changed:.0f} s, so nothing can be published. "
                    f"If no git process is running in the repository, remove that file"
                )

    def _watching(self, lock: str) -> Iterator[None]:
        """Yield repeatedly until the lock changes, is gone, or has been unchanged for `watch` seconds."""
        seen, until = self._state(lock), self._clock.monotonic() + self._patience.watch
        while seen is not None and self._state(lock) == seen and self._clock.monotonic() < until:
            yield
            self._clock.sleep(_POLL_SECONDS)

    def _state(self, lock: str) -> _State | None:
        try:
            found = self.files.lstat(lock)
        except OSError:
            return None
        return _State(found.st_ino, found.st_mtime)

    def _content(self, lock: str) -> str:
        try:
            descriptor = self.files.open(lock)
        except OSError:
            return ""
        try:
            return os.read(descriptor, _RECORD_LIMIT).decode("ascii", "replace").strip()
        except OSError:
            return ""
        finally:
            os.close(descriptor)

    def _remove(self, lock: str) -> None:
        seen = self._state(lock)
        if seen is None:
            return
        with translated("removing a lock", self._repository_path):
            try:
                self.files.unlink(lock)
            except FileNotFoundError:
                return
        _LOGGER.warning(
            "removed %s, left %.0f s ago by a process that was killed",
            self._repository_path / lock,
            time.time() - seen.changed,
        )


def unfinished(repository_path: Path) -> Unfinished | None:
    """What a dead owner of the lock was doing; None if nothing, or if the lock is held. `hold` cleans up after it."""
    return _peek(repository_path)[1]


def is_moving(repository_path: Path) -> bool:
    """Whether a process holds the lock at this moment."""
    return _peek(repository_path)[0]


def _peek(repository_path: Path) -> tuple[bool, Unfinished | None]:
    """Whether the lock is held; and if not, what its file records."""
    with ExitStack() as stack, translated("reading the lock", repository_path):
        files = stack.enter_context(RepositoryFiles(repository_path))
        try:
            descriptor = files.open_regular(_LOCK, READ)
        except FileNotFoundError:
            return False, None
        stack.callback(unlock_and_close, descriptor)
        if not try_lock(descriptor, shared=True):
            return True, None
        return False, _parse(os.pread(descriptor, _RECORD_LIMIT, 0))


@contextmanager
def hold(repository: BareRepository, patience: Patience, clock: Clock) -> Iterator[RefLock]:
    """Hold the lock on moving references.

    Raises:
        StoreError: others hold it for longer than `patience.ours`.
    """
    with ExitStack() as stack:
        with translated("locking the repository", repository.path):
            files = stack.enter_context(repository.files())
            descriptor = open_lock(files, _LOCK)
        stack.callback(unlock_and_close, descriptor)
        acquire(descriptor, repository.path / _LOCK, patience.ours, clock)
        lock = RefLock(repository.path, files, descriptor, patience, clock)
        lock.recover()
        yield lock


def open_lock(files: RepositoryFiles, path: str) -> int:
    """Open a lock's file below `perago`; created if missing.

    Raises:
        OSError: it cannot be opened, or is something other than a file of the repository's own.
    """
    files.make_directories(path.rpartition("/")[0])
    return files.open_regular(path, os.O_RDWR | os.O_CREAT, _LOCK_MODE)


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


class _State(NamedTuple):
    inode: int
    changed: float


def _parse(data: bytes) -> Unfinished | None:
    """Parse a record. One that names something other than git's locks on references is not Perago's."""
    try:
        record = json.loads(data)
        locks = tuple(map(str, record["locks"]))
        return Unfinished(locks, str(record["target"])) if all(map(_is_lock, locks)) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_lock(name: str) -> bool:
    if name == PACKED_REFS_LOCK:
        return True
    reference = name.removesuffix(_SUFFIX)
    try:
        return name != reference and reference.startswith("refs/") and pygit2.reference_is_valid_name(reference)
    except ValueError:  # a name that is not text
        return False
