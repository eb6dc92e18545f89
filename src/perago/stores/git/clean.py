"""Removing staging references of ended and killed attempts, temporary files, and branches of old runs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from perago.errors import StoreError
from perago.stores.git.lfs import LfsStore
from perago.stores.git.refs import STAGING, References
from perago.stores.git.repository import translated
from perago.stores.git.runs import OldRuns
from perago.values.models import StagedWorkspace


@dataclass(frozen=True)
class Swept:
    """The result of a sweep: removed staging references, temporary files (their number), and branches of runs."""

    staging: tuple[str, ...]
    temporaries: int
    runs: tuple[str, ...]


def cleanup_staging(references: References, staged: StagedWorkspace) -> None:
    """Remove a staging reference. A missing one is fine. See `ports.CleanupStaging`."""
    references.drop_staged(staged.branch)


def sweep(references: References, older_than_seconds: float, runs_older_than_seconds: float) -> Swept:
    """Remove staging references with older commits, temporary files without an owner, and branches of old runs.

    Args:
        older_than_seconds: longer than any attempt may take from staging to publishing. An attempt whose reference is
            removed fails and publishes nothing.
        runs_older_than_seconds: longer than any task may take. A run whose branch is removed fails and publishes
            nothing.
    """
    before = references.clock.now().timestamp() - older_than_seconds
    old = [name for name, commit_id in references.staged() if _staged_at(references, commit_id) < before]
    for name in old:
        references.drop_staged(name)
    locks = _remove_old_locks(references, older_than_seconds)
    old_runs = OldRuns(references, lambda _: runs_older_than_seconds)
    runs = [run.branch for run in list(old_runs) if old_runs.remove(run.branch)]
    return Swept(tuple(old), LfsStore(references.repository).sweep() + locks, tuple(runs))


def _staged_at(references: References, commit_id: str) -> int:
    """Time of staging, in seconds since the epoch; 0 if the commit is missing and therefore useless."""
    try:
        return references.repository.commit(commit_id).commit_time
    except StoreError:
        return 0


def _remove_old_locks(references: References, older_than_seconds: float) -> int:
    """Remove old git locks on staging references. Executions share no reference, so an old lock's owner is dead."""
    removed = 0
    with translated("removing old locks", references.repository.path), references.repository.files() as files:
        for name in files.names(STAGING.rstrip("/")):
            lock = STAGING + name
            with suppress(FileNotFoundError):
                if name.endswith(".lock") and time.time() - files.lstat(lock).st_mtime > older_than_seconds:
                    files.unlink(lock)
                    removed += 1
    return removed
