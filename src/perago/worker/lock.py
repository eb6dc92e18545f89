"""One supervisor for each workspace root."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perago.errors import RuntimeConfigError

SUPERVISOR_DIRECTORY = "supervisor"
"""In the workspace root: what is the supervisor's own, its lock, its status, and results that wait."""

LOCK_FILE = "lock"
LOCK_TRIES = 5
LOCK_PAUSE_SECONDS = 0.05


def supervisor_directory(root: Path) -> Path:
    return root / SUPERVISOR_DIRECTORY


@contextmanager
def only_supervisor(root: Path, worker_id: str) -> Iterator[Path]:
    """Be the one supervisor of a workspace root; gives the supervisor's directory in it.

    The lock ends with the process, however that ends.

    Raises:
        RuntimeConfigError: another one runs, or the directory cannot be written.
    """
    directory = supervisor_directory(root)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise RuntimeConfigError(f"PERAGO_WORKSPACE_ROOT {root} cannot be used: {exc.strerror}") from exc
    try:
        if not _lock(handle):
            raise RuntimeConfigError(
                f"another supervisor works in {root}{_holder(directory)}; give this one a PERAGO_WORKSPACE_ROOT of its "
                f"own, or more slots (-j) to the other"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, _describe(worker_id), 0)
        yield directory
    finally:
        os.close(handle)


def is_locked(root: Path) -> bool:
    """Whether a supervisor works in a root now."""
    try:
        handle = os.open(supervisor_directory(root) / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(handle: int) -> bool:
    """Take the lock; a `perago status` that looks at it in the same moment must not keep it."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_SECONDS)
        else:
            return True
    return False


def _describe(worker_id: str) -> bytes:
    return json.dumps({"worker_id": worker_id, "pid": os.getpid(), "host": platform.node()}).encode()


def _holder(directory: Path) -> str:
    try:
        found = json.loads((directory / LOCK_FILE).read_bytes())
        return f" (process {int(found['pid'])} on {found['host']}, worker {found['worker_id']})"
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return ""
