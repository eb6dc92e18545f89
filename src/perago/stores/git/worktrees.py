"""Work trees that were added to a bare repository with `git worktree add`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from perago.files.storage import opened_file

_MAX_BYTES = 4096 + 16
"""A path, or `ref: ` and the name of a reference."""


def work_tree_on(repository: Path, reference: str) -> Path | None:
    """A work tree in which this reference is checked out; None if there is none. Deleted work trees do not count."""
    registered = repository / "worktrees"
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in registered.iterdir():
            if _line(entry / "HEAD") == f"ref: {reference}":
                dot_git = entry / (_line(entry / "gitdir") or ".")
                if dot_git.exists():
                    return dot_git.parent
    return None


def _line(path: Path) -> str:
    """The content of a small file; "" if it is missing or something else."""
    try:
        with opened_file(path) as file:
            return (file.read(_MAX_BYTES) or b"").decode("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
