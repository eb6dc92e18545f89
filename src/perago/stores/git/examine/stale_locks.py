"""git lock files whose owner is dead. They block all writes to what they lock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from perago.stores.git.examine.processes import git_at_work, has_open
from perago.stores.git.locks import hold, is_moving
from perago.stores.git.refs import References
from perago.stores.git.repository import translated
from perago.values.findings import Finding, Kind


def stale_locks(references: References, older_than_seconds: float) -> Iterator[Finding]:
    """Old locks that no process has open, in a repository without running git processes.

    A lock on a reference is held for milliseconds, so it is old after a minute (`Patience.stale`). For other locks the
    general age applies.
    """
    path = references.repository.path

    def is_old(lock: Path) -> bool:
        state_age = _age(lock)
        is_of_reference = lock.parent == path or path / "refs" in lock.parents
        limit = references.patience.stale if is_of_reference else older_than_seconds
        return state_age is not None and state_age > min(limit, older_than_seconds)

    def mend(lock: Path) -> bool:
        # No Perago process writes a reference within this context.
        with hold(references.repository, references.patience, references.clock) as held:
            if not os.path.lexists(lock):
                return True
            if not is_old(lock) or _is_held(path, lock):
                return False
            with translated(f"removing {lock}", path), suppress(FileNotFoundError):
                held.files.unlink(lock.relative_to(path).as_posix())
        return True

    old = [lock for lock in _locks(path) if is_old(lock)]
    if not old or is_moving(path):
        return
    for lock in old:
        if not _is_held(path, lock):
            yield Finding(
                kind=Kind.LOCK,
                what=str(lock),
                why="no process has it open, and no git process is running in the repository",
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
        return time.time() - path.lstat().st_mtime
    except OSError:
        return None
