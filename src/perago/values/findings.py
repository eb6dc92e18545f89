"""Findings of an examination: leftovers, and what is missing or damaged. Values, and how to repair them.

Each layer examines what it writes; `perago doctor` collects the findings.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

Mend = Callable[[], bool]
"""Check again, then remove or repair. Returns True if the finding is gone, False if the thing is needed and was kept.

Raises `PeragoError` or `OSError` on failure.
"""


class Kind(enum.StrEnum):
    """The kind of thing that was found."""

    ATTEMPT_DIRECTORY = "attempt_directory"
    WARM_WORKSPACE = "warm_workspace"
    RUN_LEFTOVER = "run_leftover"
    KILLED_RUN = "killed_run"
    UNREADABLE_RUN = "unreadable_run"
    UNREADABLE_RESULT = "unreadable_result"
    STAGED_COMMIT = "staged_commit"
    RUN_BRANCH = "run_branch"
    UNFINISHED_PUBLICATION = "unfinished_publication"
    LOCK = "lock"
    TEMPORARY_FILE = "temporary_file"
    DAMAGED_CACHE_ENTRY = "damaged_cache_entry"
    UNREFERENCED_LARGE_FILE = "unreferenced_large_file"
    MISSING_LARGE_FILE = "missing_large_file"
    DAMAGED_LARGE_FILE = "damaged_large_file"
    DAMAGED_OBJECT = "damaged_object"
    DAMAGED_BRANCH = "damaged_branch"
    DAMAGED_REFERENCE = "damaged_reference"
    UNREADABLE_STAMP = "unreadable_stamp"
    STAMP_THAT_DOES_NOT_COUNT = "stamp_that_does_not_count"

    @property
    def label(self) -> str:
        """The kind in words, such as "attempt directory"."""
        return self.value.replace("_", " ")


OLD_RUN = "its transactional run has ended, or has not used it for long. Without it the run cannot be resumed"
"""Why the branch of an old run is found."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        what: a path, a reference, a commit or a run.
        why: why it is a leftover, or what is wrong with it and what to do. Whole sentences without the last full stop.
        age_seconds: time since the last write; None if it has no age.
        size: bytes on disk; None if it has no size of its own.
        mend: None if only a person can repair it.
        is_note: information only; nothing is wrong.
    """

    kind: Kind
    what: str
    why: str
    age_seconds: float | None = None
    size: int | None = None
    mend: Mend | None = field(default=None, repr=False, compare=False)
    is_note: bool = False


def size_below(path: Path) -> int:
    """Bytes of a file, or of everything below a directory. Does not follow links; skips what cannot be read."""
    total, pending = 0, [path]
    while pending:
        current = pending.pop()
        with suppress(OSError):
            status = current.lstat()
            if stat.S_ISDIR(status.st_mode):
                pending.extend(current.iterdir())
            else:
                total += status.st_size
    return total


def remove_file(path: Path) -> bool:
    """A `Mend` that unlinks a file. A missing file is fine."""
    path.unlink(missing_ok=True)
    return True
