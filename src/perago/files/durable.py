"""Writing files so that a kill at any moment leaves either the old content or the new."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import EngineError
from perago.files.storage import OWNER_ONLY, sync_directory

_ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "the user's quota is used up: free some space",
    errno.EACCES: "give this user permission to read and write there",
    errno.EPERM: "give this user permission to read and write there",
    errno.EROFS: "choose a directory on a writable file system",
    errno.ENOTDIR: "a file is in the way of a directory: remove it, or choose another directory",
    errno.EEXIST: "something else is in the way: remove it, or choose another directory",
}


@contextmanager
def record_errors(doing: str, path: Path) -> Iterator[None]:
    """Convert the block's `OSError`s to `EngineError`s that name `path`."""
    try:
        yield
    except OSError as exc:
        advice = _ADVICE.get(exc.errno or 0, "check the disk under it")
        raise EngineError(f"{doing} {os.fspath(path)!a}: {exc.strerror or type(exc).__name__}; {advice}") from exc


def write_durably(path: Path, text: str) -> None:
    """Replace a file, for its owner only (mode 0600). After the return, a crash of the machine does not undo it.

    Raises:
        OSError: writing failed; the old content is unchanged.
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


def write_whole(path: Path, text: str) -> None:
    """Replace a file that a user has asked for, with the mode of the user's other files. Readers never see a part.

    Raises:
        OSError: writing failed; the old content is unchanged.
    """
    aside = path.with_name(f".{secrets.token_hex(16)}.tmp")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def leftovers_of(path: Path) -> list[Path]:
    """Temporary files of writers of this file. Killed writers leave them."""
    return [entry for entry in path.parent.iterdir() if entry.name.startswith(_aside_prefix(path))]


def sweep_leftovers(path: Path) -> int:
    """Remove what killed writers of this file left. Only the file's single writer may call it. Returns the number."""
    leftovers = leftovers_of(path)
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _aside_prefix(path: Path) -> str:
    return f".{path.name}."
