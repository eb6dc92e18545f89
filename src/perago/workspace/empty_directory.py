"""A directory of a person's that is filled whole, or left as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.workspace.removal import delete_content


@contextmanager
def empty_directory(target: Path) -> Iterator[None]:
    """Make a directory, or find it empty; if what is done in it fails, it is as before.

    Raises:
        WorkspaceStorageError: it is not empty, or cannot be made or read.
    """
    is_new = not target.exists()
    directory = _open_empty_directory(target)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first failure is to be told
            delete_content(directory)
            if is_new:
                target.rmdir()
        raise
    finally:
        os.close(directory)


def _open_empty_directory(target: Path) -> int:
    try:
        target.mkdir(parents=True, exist_ok=True)
        directory = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise WorkspaceStorageError(f"{target} cannot be made or read: {exc.strerror}. Give another directory") from exc
    if os.listdir(directory):  # noqa: PTH208 - Path cannot list an open directory
        os.close(directory)
        raise WorkspaceStorageError(f"{target} is not empty, and nothing of yours is overwritten. Give a new directory")
    return directory
