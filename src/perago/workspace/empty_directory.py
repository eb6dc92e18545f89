"""A person's directory that is either filled completely or left unchanged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perago.errors import WorkspaceStorageError
from perago.workspace.removal import delete_content


@contextmanager
def empty_directory(target: Path) -> Iterator[None]:
    """Create a directory, or use an empty one. If the block fails, the directory is restored.

    Raises:
        WorkspaceStorageError: it is not empty, or cannot be created or read.
    """
    is_new = not target.exists()
    directory = _open_empty_directory(target)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # report the first error
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
        raise WorkspaceStorageError(
            f"{target} cannot be created or read: {exc.strerror}. Give another directory"
        ) from exc
    if os.listdir(directory):  # noqa: PTH208 - Path cannot list an open directory
        os.close(directory)
        raise WorkspaceStorageError(f"{target} is not empty, and Perago does not overwrite it. Give a new directory")
    return directory
