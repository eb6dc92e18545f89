"""Findings: attempt directories that are no longer needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from perago.ports import Clock
from perago.values.findings import Finding, Kind, size_below
from perago.workspace.janitor import Judged, attempt_directories, judge, remove
from perago.workspace.owner import OwnerMarker
from perago.workspace.warm.place import entries, evict


def examine(root: Path, older_than_seconds: float, clock: Clock) -> Iterator[Finding]:
    """Find the orphans, and the warm workspaces out of use, that `janitor.sweep` would remove.

    Args:
        root: the workspace root; may be missing.
        older_than_seconds: age from which a directory counts as an orphan if its owner's state is unknown.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """

    def is_orphan(judged: Judged) -> bool:
        return judged.is_orphan(older_than_seconds, clock.now().timestamp())

    def mend(path: Path) -> bool:
        judged = judge(path)
        if judged is None:
            return True
        if not is_orphan(judged):
            return False
        remove(path)
        return True

    for path in attempt_directories(root):
        judged = judge(path)
        if judged is not None and is_orphan(judged):
            yield Finding(
                kind=Kind.ATTEMPT_DIRECTORY,
                what=str(path),
                why=_why(judged),
                age_seconds=clock.now().timestamp() - judged.changed,
                size=size_below(path),
                mend=partial(mend, path),
            )
    for entry in entries(root):
        age_seconds = clock.now().timestamp() - entry.since
        if age_seconds > older_than_seconds:
            yield Finding(
                kind=Kind.WARM_WORKSPACE,
                what=str(entry.path),
                why="no attempt has used the files that stayed in it for a long time",
                age_seconds=age_seconds,
                size=size_below(entry.path),
                mend=partial(_evicted, entry.path, root),
            )


def _evicted(path: Path, root: Path) -> bool:
    evict(path, root)
    return True


def living_since(root: Path) -> float | None:
    """Start of the oldest attempt that may be alive, in seconds since the epoch; None if there is none.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """
    begun = []
    for path in attempt_directories(root):
        judged = judge(path)
        if judged is not None and judged.marker is not None and judged.owner == "alive":
            begun.append(_created(judged.marker, judged.changed))
    return min(begun, default=None)


def _created(marker: OwnerMarker, changed: float) -> float:
    try:
        return datetime.fromisoformat(marker.created_at).timestamp()
    except ValueError:
        return changed


def _why(judged: Judged) -> str:
    if judged.marker is None:
        return "it has no owner marker, and has not changed for a long time"
    process = f"process {judged.marker.pid} on {judged.marker.host}"
    if judged.owner == "dead":
        return f"its owner, {process}, is dead"
    return f"its owner, {process}, is not visible from here, and it has not changed for a long time"
