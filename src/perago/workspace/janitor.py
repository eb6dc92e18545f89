"""The janitor: removes attempt directories whose owners are gone, and what crashes left half made or half removed."""

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


class NotRemoved(NamedTuple):
    """An orphan that could not be removed, or not whole."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SweepReport:
    """What one sweep did.

    Attributes:
        removed: orphans that are gone.
        kept: directories of owners that live, or may live.
        failed: orphans that the next sweep tries again.
    """

    removed: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    failed: tuple[NotRemoved, ...] = ()


def is_orphan(
    marker: OwnerMarker | None, owner: Liveness, age_seconds: float, ttl_seconds: float, *, is_discarded: bool = False
) -> bool:
    """Whether a directory may go: a dead owner's at once, a living one's never, any other when it is old enough.

    One that somebody has begun to remove loses its marker last. Without it nothing is left to be waited for: whoever
    was at it was killed a moment before the end, or will find it done.

    Args:
        marker: None: there is none that can be read.
        owner: of the marker's owner; without a marker it does not count.
        age_seconds: since something was last made or renamed in the directory's top level.
        ttl_seconds: the age from which on nobody is taken to be at work there.
        is_discarded: it stands aside to be removed.
    """
    if is_discarded and marker is None:
        return True
    if marker is not None and owner != "unknown":
        return owner == "dead"
    return age_seconds > ttl_seconds


def sweep(root: Path, ttl_seconds: float, now: float) -> SweepReport:
    """Remove the orphans among the attempt directories of a workspace root. Any number of janitors may do so at once.

    Only directories that attempts make are looked at: what else lies in the root (links, files, `kept/`, directories of
    others) is not touched, so that a root that was not ours alone loses nothing.

    Args:
        root: the workspace root; one that is not there has no orphans.
        ttl_seconds: see `is_orphan`.
        now: seconds since the epoch.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """
    report = _Tally()
    for path in attempt_directories(root):
        _sweep_one(path, ttl_seconds, now, report)
    return SweepReport(tuple(report.removed), tuple(report.kept), tuple(report.failed))


@dataclass(frozen=True)
class Judged:
    """An attempt directory as it was a moment ago.

    Attributes:
        marker: who it belongs to; None: there is none that can be read.
        owner: whether that process still runs.
        changed: when something was last made or renamed in its top level; seconds since the epoch.
    """

    path: Path
    marker: OwnerMarker | None
    owner: Liveness
    changed: float

    def is_orphan(self, ttl_seconds: float, now: float) -> bool:
        is_discarded = self.path.name.startswith(TRASH_PREFIX)
        return is_orphan(self.marker, self.owner, now - self.changed, ttl_seconds, is_discarded=is_discarded)


def attempt_directories(root: Path) -> list[Path]:
    """The directories of a workspace root that attempts made, half made and half removed ones too.

    Raises:
        WorkspaceStorageError: the root cannot be read.
    """
    with storage_errors("cannot read workspace root", root):
        try:
            return sorted(_attempt_directories(root.resolve(strict=True)))
        except FileNotFoundError:
            return []


def judge(path: Path) -> Judged | None:
    """Look at one attempt directory; None: its owner, or another janitor, has removed it."""
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
    """Whether attempts make such directories. The name alone would not do: others' names can look like it."""
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
    """When the newest thing at the directory's top level was changed, itself included; None: it is gone.

    By ctime, which a body cannot set.
    """
    times = []
    for candidate in (path, path / WORKSPACE_DIRECTORY, path / OWNER_FILE, path / MANIFEST_FILE):
        try:
            times.append(os.lstat(candidate).st_ctime)
        except OSError:
            continue
    return max(times, default=None)
