"""A directory of a person's that is filled whole, or left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.workspace.removal import delete_tree


@contextmanager
def empty_directory(target: Path) -> Iterator[None]:
    """Make a directory, or find it empty; if what is done in it fails, it is as before.

    Raises:
        WorkspaceStorageError: it is not empty, or cannot be made or read.
    """
    is_new = not target.exists()
    _make_empty_directory(target)
    try:
        yield
    except BaseException:
        with suppress(OSError, WorkspaceStorageError):  # the first failure is to be told
            for path in list(target.iterdir()):
                delete_tree(path)
            if is_new:
                target.rmdir()
        raise


def _make_empty_directory(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        is_empty = not any(target.iterdir())
    except OSError as exc:
        raise WorkspaceStorageError(f"{target} cannot be made or read: {exc.strerror}. Give another directory") from exc
    if not is_empty:
        raise WorkspaceStorageError(f"{target} is not empty, and nothing of yours is overwritten. Give a new directory")
