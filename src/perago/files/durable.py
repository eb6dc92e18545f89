"""Files that survive a kill at any moment: whole as they were, or whole as they are to be."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import EngineError
from perago.files.storage import OWNER_ONLY, sync_directory

_MENDS = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "the user's quota is used up: free some space",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.EROFS: "give a directory on a file system that can be written",
    errno.ENOTDIR: "a file is in the way of a directory: remove it, or give another directory",
    errno.EEXIST: "something else is in the way: remove it, or give another directory",
}


@contextmanager
def record_errors(doing: str, path: Path) -> Iterator[None]:
    """Run a block whose `OSError`s become `EngineError`s that name `path`."""
    try:
        yield
    except OSError as exc:
        mend = _MENDS.get(exc.errno or 0, "look at the disk under it")
        raise EngineError(f"{doing} {os.fspath(path)!a}: {exc.strerror or type(exc).__name__}; {mend}") from exc


def write_durably(path: Path, text: str) -> None:
    """Replace a file, for its owner alone (mode 0600); when this returns, a crash of the machine does not undo it.

    Raises:
        OSError: it could not be written; the old one is as it was.
    """
    aside = path.with_name(f"{_aside_prefix(path)}{secrets.token_hex(8)}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise
    sync_directory(path.parent)


def leftovers_of(path: Path) -> list[Path]:
    """What writers of this file have beside it: killed ones left it."""
    return [entry for entry in path.parent.iterdir() if entry.name.startswith(_aside_prefix(path))]


def sweep_leftovers(path: Path) -> int:
    """Remove what killed writers of this file left; only for whoever is its one writer now. Returns how many."""
    leftovers = leftovers_of(path)
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _aside_prefix(path: Path) -> str:
    return f".{path.name}."
