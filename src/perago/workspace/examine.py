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


def examine(root: Path, older_than_seconds: float, clock: Clock) -> Iterator[Finding]:
    """Find the orphans that `janitor.sweep` would remove.

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
