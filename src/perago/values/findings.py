"""What an examination finds: what nobody needs any more, and what is missing or damaged. Values, and how to mend them.

Each layer looks at what it writes itself; `perago doctor` puts the findings together.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

Mend = Callable[[], bool]
"""Look again, and remove or repair. True: it is mended, or gone; False: it is needed after all, and was left alone.

Raises `PeragoError` or `OSError` where it could not be done.
"""


class Kind(enum.StrEnum):
    """What was found."""

    ATTEMPT_DIRECTORY = "attempt_directory"
    RUN_LEFTOVER = "run_leftover"
    KILLED_RUN = "killed_run"
    UNREADABLE_RUN = "unreadable_run"
    UNREADABLE_RESULT = "unreadable_result"
    STAGED_COMMIT = "staged_commit"
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
        """For people: "attempt directory"."""
        return self.value.replace("_", " ")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        what: a path, a reference, a commit or a run.
        why: why nobody needs it, or what is wrong with it and what to do; whole sentences without the last full stop.
        age_seconds: since it was last written; None: it has no age.
        size: bytes on disk; None: it has none of its own.
        mend: None: only a person can mend it.
        is_note: nothing is wrong; only good to know.
    """

    kind: Kind
    what: str
    why: str
    age_seconds: float | None = None
    size: int | None = None
    mend: Mend | None = field(default=None, repr=False, compare=False)
    is_note: bool = False


def size_below(path: Path) -> int:
    """Bytes of a file, or of all below a directory. Links are not followed; what cannot be seen counts nothing."""
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
    """A `Mend`: unlink a file; one that is gone already is fine."""
    path.unlink(missing_ok=True)
    return True
