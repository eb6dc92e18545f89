"""The janitor: removes attempt directories of dead owners, and what crashes left half created or half removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from perago.errors import WorkspaceStorageError
from perago.files.storage import storage_errors
from perago.workspace.directory import (
    ASIDE_NAME,
    ATTEMPT_DIRECTORY_NAME,
    MANIFEST_FILE,
    OWNER_FILE,
    WORKSPACE_DIRECTORY,
)
from perago.workspace.owner import Liveness, OwnerMarker, liveness
from perago.workspace.removal import TRASH_PREFIX, delete_tree, discard
from perago.workspace.warm.place import evict, unused_since


class NotRemoved(NamedTuple):
    """An orphan that could not be removed completely."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SweepReport:
    """Result of one sweep.

    Attributes:
        removed: removed orphans.
        kept: directories whose owners are, or may be, alive.
        failed: orphans that the next sweep tries again.
    """

    removed: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    failed: tuple[NotRemoved, ...] = ()


def is_orphan(
    marker: OwnerMarker | None, owner: Liveness, age_seconds: float, ttl_seconds: float, *, is_discarded: bool = False
) -> bool:
    """Whether a directory may be removed: of a dead owner at once, of a live one never, any other if it is old enough.

    Removal deletes the marker last. A half removed directory without a marker may therefore be removed at once: the
    process that was removing it was killed, or will find it gone.

    Args:
        marker: None if it is missing or unreadable.
        owner: of the marker's owner; ignored without a marker.
        age_seconds: since the last creation or renaming in the directory's top level.
        ttl_seconds: age from which a directory of unknown ownership counts as unused.
        is_discarded: it was renamed for removal.
    """
    if is_discarded and marker is None:
        return True
    if marker is not None and owner != "unknown":
        return owner == "dead"
    return age_seconds > ttl_seconds


def sweep(root: Path, ttl_seconds: float, now: float) -> SweepReport:
    """Remove the orphans among the attempt directories of a workspace root, and warm workspaces that are out of use.

    Any number of janitors may run at once.

    Only directories that attempts create are checked. Everything else in the root (links, files, `kept/`, other
    directories) is left alone, in case the root is not Perago's alone.

    Args:
        root: the workspace root; may be missing.
        ttl_seconds: see `is_orphan`; also the time after which a warm workspace goes.
        now: seconds since the epoch.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """
    report = _Tally()
    for path in attempt_directories(root):
        _sweep_one(path, ttl_seconds, now, report)
    for path in unused_since(root, now - ttl_seconds):
        try:
            evict(path, root)
        except WorkspaceStorageError as exc:
            report.failed.append(NotRemoved(path, str(exc)))
    return SweepReport(tuple(report.removed), tuple(report.kept), tuple(report.failed))


@dataclass(frozen=True)
class Judged:
    """State of an attempt directory.

    Attributes:
        marker: the owner; None if missing or unreadable.
        owner: whether that process still runs.
        changed: last creation or renaming in its top level; seconds since the epoch.
    """

    path: Path
    marker: OwnerMarker | None
    owner: Liveness
    changed: float

    def is_orphan(self, ttl_seconds: float, now: float) -> bool:
        is_discarded = self.path.name.startswith(TRASH_PREFIX)
        return is_orphan(self.marker, self.owner, now - self.changed, ttl_seconds, is_discarded=is_discarded)


def attempt_directories(root: Path) -> list[Path]:
    """The directories of a workspace root that attempts created, including half created and half removed ones.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """
    with storage_errors("cannot read workspace root", root):
        try:
            return sorted(_attempt_directories(root.resolve(strict=True)))
        except FileNotFoundError:
            return []


def judge(path: Path) -> Judged | None:
    """Check one attempt directory; None if its owner or another janitor has removed it."""
    changed = _last_change(path)
    if changed is None:
        return None
    marker = OwnerMarker.read(path / OWNER_FILE)
    return Judged(path, marker, "unknown" if marker is None else liveness(marker), changed)


def remove(path: Path) -> None:
    """Remove an orphan.

    Raises:
        WorkspaceStorageError: not all of it could be removed.
    """
    if path.name.startswith(TRASH_PREFIX):
        delete_tree(path, OWNER_FILE)
    else:
        discard(path, OWNER_FILE)


@dataclass
class _Tally:
    removed: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    failed: list[NotRemoved] = field(default_factory=list)


def _sweep_one(path: Path, ttl_seconds: float, now: float, report: _Tally) -> None:
    judged = judge(path)
    if judged is None:
        return
    if not judged.is_orphan(ttl_seconds, now):
        report.kept.append(path)
        return
    try:
        remove(path)
    except WorkspaceStorageError as exc:
        report.failed.append(NotRemoved(path, str(exc)))
    else:
        report.removed.append(path)


def _attempt_directories(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and _is_ours(root / entry.name):
                yield root / entry.name


def _is_ours(path: Path) -> bool:
    """Whether an attempt created it. The name alone does not prove that, because other names can look like it."""
    if ASIDE_NAME.fullmatch(path.name):
        return True
    if ATTEMPT_DIRECTORY_NAME.fullmatch(path.name) is None:
        return False
    try:
        content = {entry.name for entry in path.iterdir()}
    except OSError:
        return False
    return OWNER_FILE in content or {WORKSPACE_DIRECTORY} <= content <= {WORKSPACE_DIRECTORY, MANIFEST_FILE}


def _last_change(path: Path) -> float | None:
    """Time of the newest change at the directory's top level, including itself; None if it is gone.

    Uses the ctime, which a body cannot set.
    """
    times = []
    for candidate in (path, path / WORKSPACE_DIRECTORY, path / OWNER_FILE, path / MANIFEST_FILE):
        try:
            times.append(os.lstat(candidate).st_ctime)
        except OSError:
            continue
    return max(times, default=None)
