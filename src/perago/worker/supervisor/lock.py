"""Lock a workspace root, so that it has one supervisor at most."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perago.errors import RuntimeConfigError
from perago.files.lock import FileLock, is_held_by_anybody
from perago.files.private_directory import make_private
from perago.files.storage import opened_file

SUPERVISOR_DIRECTORY = "supervisor"
"""In the workspace root: the supervisor's lock, its status, and the spool of results."""

LOCK_FILE = "lock"
LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.05


def supervisor_directory(root: Path) -> Path:
    return root / SUPERVISOR_DIRECTORY


@contextmanager
def only_supervisor(root: Path, worker_id: str) -> Iterator[Path]:
    """Lock a workspace root for this supervisor; yields the supervisor's directory in it.

    The lock ends with the process, however the process ends. Forks made by bodies in threads do not hold it.

    Raises:
        RuntimeConfigError: another supervisor runs, the directory cannot be written, or another user can change it.
    """
    directory = supervisor_directory(root)
    try:
        make_private(root, "PERAGO_WORKSPACE_ROOT")
        make_private(directory, "the supervisor's directory")
        lock = _lock(directory / LOCK_FILE)
    except OSError as exc:
        raise RuntimeConfigError(f"PERAGO_WORKSPACE_ROOT {root} cannot be used: {exc.strerror or exc}") from exc
    if lock is None:
        raise RuntimeConfigError(
            f"another worker is running in {root}{_holder(directory)}; set another PERAGO_WORKSPACE_ROOT for this one, "
            f"or give the other one more slots (-j)"
        )
    with lock:
        lock.write(_describe(worker_id))
        yield directory


def is_locked(root: Path) -> bool:
    """Whether a supervisor is running in a workspace root."""
    try:
        return is_held_by_anybody(supervisor_directory(root) / LOCK_FILE)
    except OSError:
        return False


def _lock(path: Path) -> FileLock | None:
    """Take the lock. A few tries, because `perago status` holds it for a moment when it looks."""
    for _ in range(LOCK_TRIES):
        lock = FileLock.try_acquire(path)
        if lock is not None:
            return lock
        time.sleep(LOCK_PAUSE_SECONDS)
    return None


def _describe(worker_id: str) -> bytes:
    return json.dumps({"worker_id": worker_id, "pid": os.getpid(), "host": platform.node()}).encode()


def _holder(directory: Path) -> str:
    try:
        with opened_file(directory / LOCK_FILE) as file:
            found = json.loads(file.readall())
        return f" (process {int(found['pid'])} on {found['host']}, worker {found['worker_id']})"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""
