"""The file of an index: opening it, and replacing it if it is missing or damaged.

A lock file lies beside it. A process holds this lock shared while it uses the index, and exclusively while it replaces
the file. Without it, a process could write to a removed file, or remove the log of the new one as that of the old one.
SQLite's own locks order readers and writers. A kill at any moment leaves what was committed.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from perago.errors import RuntimeConfigError, WorkspaceStorageError, required
from perago.files.lock import FileLock
from perago.files.private_directory import make_private
from perago.files.storage import OWNER_ONLY, storage_error, storage_errors
from perago.index.tables import SCHEMA, VERSION, DamagedIndexError
from perago.values.names import FOR_TASKS

BUSY_SECONDS = 10.0
"""Longest wait for other processes. Writing 10,000 commits takes a second, but a store may take minutes to list them
for the first time. Working without the index is then better than waiting."""

UNUSED_SECONDS = 30 * 24 * 3600.0
"""Age at which an unused index is removed: its repository may be gone, its host may have been a container with a name
of its own, or Perago may have been updated. Rebuilding an index takes seconds."""

SUFFIX = ".sqlite"

_POLL_SECONDS = 0.005
_MOST_MAKINGS = 3
"""Attempts to create the file for one question. One is enough, unless another process is killed at the same time."""
_LITTLE_BYTES = 64 * 1024
"""A disk with less free space counts as full: SQLite needs this much for its smallest log and the log's index."""
_OF_OTHERS = 0o022
"""Mode bits that let other users write."""
_OF_SQLITE = ("", "-wal", "-shm", "-journal")
"""What SQLite appends to the path, for each file of a database."""

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}
"""Failures of the file system, by SQLite's primary result codes."""

_CANNOT = "cannot use the history index"
_WORDS = replace(FOR_TASKS, root="state directory (XDG_STATE_HOME)")

T = TypeVar("T")


class Database:
    """The file of an index, opened by the first question. Threads that share it take turns; a fork opens its own.

    Do not keep it open for long: no process can replace a damaged file while another one has it open.

    Args:
        tell: gets one line, the first time that the file is found damaged.
    """

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self.path = path.absolute()
        self._tell: Callable[[str], None] | None = tell
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._held: FileLock | None = None
        self._making = b""  # of the file that was opened last
        _databases.add(self)

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Answer a question. A damaged file is first replaced by an empty index.

        Raises:
            WorkspaceStorageError: the file cannot be used, or other processes use it for too long.
            RuntimeConfigError: another user can change it.
        """
        with self._lock:
            with suppress(DamagedIndexError):
                return self._ask_once(question)
            self._replace()
            try:
                return self._ask_once(question)
            except DamagedIndexError as exc:
                self.close()
                raise WorkspaceStorageError(
                    f"{_CANNOT} {os.fspath(self.path)!a}: it is damaged again right after it was rebuilt; check the "
                    "disk under it"
                ) from exc

    def close(self) -> None:
        """Close the file. The next question opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            held, self._held = self._held, None
            if connection is not None:
                connection.close()
            if held is not None:
                held.release()

    def leave_to_parent(self) -> None:
        """In a fork, forget the parent's connection. SQLite does not allow a fork even to close it."""
        self._lock = threading.RLock()
        if self._connection is not None:
            _of_parents.append(self._connection)
        self._connection = self._held = None

    def _ask_once(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._open()
            return question(self._connection)
        except sqlite3.ProgrammingError:  # a defect in Perago, not in the file
            raise
        except sqlite3.Error as exc:
            self.close()
            raise _translated(exc, self.path) from exc

    def _open(self) -> sqlite3.Connection:
        with storage_errors(_CANNOT, self.path, _WORDS):
            make_private(self.path.parent, "the directory of history indexes")
            for _ in range(_MOST_MAKINGS):
                with ExitStack() as stack:
                    held = required(_acquire(self.path, shared=True), "it is not given up")
                    stack.enter_context(held)
                    self._making = lock_path(self.path).read_bytes()
                    connection = _connect(self.path)
                    if connection is not None:
                        os.utime(lock_path(self.path))
                        self._held = held
                        stack.pop_all()
                        return connection
                _make(self.path, self._making)
        raise DamagedIndexError

    def _replace(self) -> None:
        """Replace a damaged file by an empty index, unless another process has done so."""
        self.close()
        with storage_errors(_CANNOT, self.path, _WORDS):
            _make(self.path, self._making)
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(f"The history index {os.fspath(self.path)!a} was damaged. It is rebuilt from the history.")


@contextmanager
def transaction(connection: sqlite3.Connection, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[None]:
    """A transaction. `DEFERRED` reads a single state of the index; `IMMEDIATE` waits for other writers, then writes."""
    if connection.in_transaction:  # a question within a question
        yield
        return
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def lock_path(path: Path) -> Path:
    """The lock file of an index. Its content changes whenever the index is replaced."""
    return path.with_name(f"{path.name}.lock")


def _acquire(path: Path, *, shared: bool = False, unless: Callable[[], bool] = lambda: False) -> FileLock | None:
    """Take the lock of an index.

    Args:
        unless: asked between the tries; whether to give up.

    Returns:
        the lock; None if it was given up.

    Raises:
        WorkspaceStorageError: other processes have held it for too long.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        with suppress(FileNotFoundError):  # it was just removed together with an unused index
            lock = FileLock.try_acquire(lock_path(path), shared=shared)
            if lock is not None:
                return lock
            if unless():
                return None
        if time.monotonic() > deadline:
            raise _busy(path)
        time.sleep(_POLL_SECONDS)


def _connect(path: Path) -> sqlite3.Connection | None:
    """Open the file; None if it is missing, or of another version.

    Raises:
        DamagedIndexError, sqlite3.Error: it cannot be opened.
        RuntimeConfigError: see `_expect_own`.
    """
    _expect_own(path)
    if not path.exists():
        return None
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    with ExitStack() as stack:
        stack.enter_context(closing(connection))
        try:
            if connection.execute("PRAGMA user_version").fetchone() != (VERSION,):
                return None
            connection.execute("PRAGMA synchronous = NORMAL")  # a machine crash may undo the last refreshes
        except UnicodeDecodeError as exc:  # SQLite's message quotes damaged table definitions
            raise DamagedIndexError from exc
        stack.pop_all()
    return connection


def _make(path: Path, making: bytes) -> None:
    """Create an empty index, and remove what is there.

    Args:
        making: content of the lock file when the old index was found unusable. If it has changed, another process has
            replaced the index, and nothing is done.

    Raises:
        OSError, WorkspaceStorageError: it cannot be created.
    """

    def is_made() -> bool:
        return lock_path(path).read_bytes() != making

    lock = _acquire(path, unless=is_made)  # who has made it keeps it open, perhaps for long
    if lock is None:
        return
    with lock:
        if is_made():
            return
        lock.write(secrets.token_hex(8).encode())
        _remove(path)
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                path.chmod(OWNER_ONLY)
                # With this log, readers do not wait for a writer. SQLite uses a journal where shared memory is missing.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except sqlite3.Error as exc:
            raise _failed(exc, path) from exc
    _sweep(path.parent)


def _sweep(directory: Path) -> None:
    """Remove indexes that have not been opened for a long time."""
    for path in directory.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            if time.time() - lock_path(path).stat().st_mtime > UNUSED_SECONDS:
                lock = FileLock.try_acquire(lock_path(path))
                if lock is not None:
                    with lock:
                        _remove(path)
                        lock_path(path).unlink()


def _remove(path: Path) -> None:
    for file in _files(path):
        file.unlink(missing_ok=True)


def _expect_own(path: Path) -> None:
    """Refuse files that another user may have planted, when the directory was not yet private.

    Raises:
        RuntimeConfigError: a file belongs to another user, can be written by others, or is not a regular file.
    """
    for file in _files(path):
        try:
            status = file.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & _OF_OTHERS:
            raise RuntimeConfigError(
                f"{_CANNOT} {os.fspath(file)!a}: it must be a regular file of this user that no other user can write; "
                "find out who created it, and remove it"
            )


def _files(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{ending}") for ending in _OF_SQLITE]


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    """Translate an error of SQLite: the file is in use, the file system failed, or the content is damaged."""
    code = _code_of(error)
    if code in _LOCKED:
        return _busy(path)
    if code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return DamagedIndexError()  # a wrong format version in the file's header
    return _failed(error, path) if code in _ERRNO else DamagedIndexError()


def _failed(error: sqlite3.Error, path: Path) -> WorkspaceStorageError:
    number = _ERRNO.get(_code_of(error), errno.EIO)
    if number == errno.EIO and _is_full(path.parent):  # SQLite reports a log's index that cannot grow as an I/O error
        number = errno.ENOSPC
    return storage_error(OSError(number, str(error)), _CANNOT, path, _WORDS)


def _is_full(directory: Path) -> bool:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize < _LITTLE_BYTES


def _busy(path: Path) -> WorkspaceStorageError:
    return WorkspaceStorageError(
        f"{_CANNOT} {os.fspath(path)!a}: other processes have been using it for more than {BUSY_SECONDS:g} s; "
        "try again later"
    )


def _code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    try:
        return error.sqlite_errorcode & 0xFF
    except AttributeError:  # raised by Python itself, for text that is not UTF-8
        return sqlite3.SQLITE_CORRUPT


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_of_parents: list[sqlite3.Connection] = []
"""Connections of parent processes, kept alive because Python closes a connection that is no longer referenced."""


def _leave_to_parent() -> None:
    for database in list(_databases):
        database.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)
