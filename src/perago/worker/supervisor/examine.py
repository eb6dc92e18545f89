"""Find kept results that a worker set aside because it could not read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.ports import Clock
from perago.values.findings import Finding, Kind
from perago.worker.supervisor.delivery import DAMAGED_SUFFIX, SPOOL_DIRECTORY
from perago.worker.supervisor.lock import supervisor_directory

_WHY = (
    "a worker kept a task's result in this file, and a later worker could not read it. The result is never reported: "
    "the execution ends by its response timeout, and the retry adopts what was published. Find out what damaged the "
    "file (a full or failing disk), then remove it"
)


def examine(root: Path, clock: Clock) -> Iterator[Finding]:
    """Find kept results that cannot be read; see `delivery.ResultSpool.load`.

    Args:
        root: the workspace root. A root that no worker has used has no findings.

    Raises:
        WorkspaceStorageError: the directory cannot be read.
    """
    directory = supervisor_directory(root) / SPOOL_DIRECTORY
    try:
        for path in _damaged(directory):
            status = path.lstat()
            age = clock.now().timestamp() - status.st_mtime
            yield Finding(kind=Kind.UNREADABLE_RESULT, what=str(path), why=_WHY, age_seconds=age, size=status.st_size)
    except OSError as exc:
        raise WorkspaceStorageError(f"{directory} cannot be read: {exc.strerror}; check its permissions") from exc


def _damaged(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.endswith(DAMAGED_SUFFIX))
    except FileNotFoundError:
        return []
