"""Lock files of git's whose owner is gone: while one is there, nobody can write what it locks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from perago.stores.git.examine.processes import git_at_work, has_open
from perago.stores.git.locks import hold, is_moving
from perago.stores.git.refs import References
from perago.values.findings import Finding, Kind


def stale_locks(references: References, older_than_seconds: float) -> Iterator[Finding]:
    """Locks that are old, that no process has open, in a repository in which no git is at work.

    A lock on a reference is held for milliseconds, and is old after a minute (`Patience.stale`); others are old when
    everything else is.
    """
    path = references.repository.path

    def is_old(lock: Path) -> bool:
        state_age = _age(lock)
        is_of_reference = lock.parent == path or path / "refs" in lock.parents
        limit = references.patience.stale if is_of_reference else older_than_seconds
        return state_age is not None and state_age > min(limit, older_than_seconds)

    def mend(lock: Path) -> bool:
        with hold(path, references.patience, references.clock):  # and so no process of ours writes a reference
            if not lock.exists():
                return True
            if not is_old(lock) or _is_held(path, lock):
                return False
            lock.unlink(missing_ok=True)
        return True

    old = [lock for lock in _locks(path) if is_old(lock)]
    if not old or is_moving(path):
        return
    for lock in old:
        if not _is_held(path, lock):
            yield Finding(
                kind=Kind.LOCK,
                what=str(lock),
                why="no process has it open, and no git is at work in the repository",
                age_seconds=_age(lock),
                mend=partial(mend, lock),
            )


def _locks(path: Path) -> Iterator[Path]:
    objects = path / "objects"
    return chain(
        path.glob("*.lock"),
        (path / "refs").rglob("*.lock"),
        objects.glob("*.lock"),
        (objects / "pack").glob("*.lock"),
        (objects / "info").rglob("*.lock"),
    )


def _is_held(path: Path, lock: Path) -> bool:
    return bool(has_open([lock]) or git_at_work(path))


def _age(path: Path) -> float | None:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return None
