"""Copies files of the in-memory store to a workspace directory and back."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from perago.errors import ObjectNameError, WorkspaceContentError
from perago.files.beneath import Beneath
from perago.files.storage import opened_file, storage_errors
from perago.testing.commits import Blob, Overlay, Tree
from perago.values.names import show_name
from perago.workspace.new_files import make_directories, open_new


def lay_out(files: Tree, target: Path) -> None:
    """Write files below a directory. Existing files are not overwritten, and links are not followed.

    Raises:
        WorkspaceStorageError: the files cannot be written.
    """
    with storage_errors("cannot lay out the files in", target), Beneath(target) as opened:
        make_directories(opened, files)
        for path, blob in files.items():
            descriptor = open_new(opened, path, executable=blob.executable)
            with os.fdopen(descriptor, "wb") as writing:
                writing.write(blob.content)


def read_file(files: Beneath, path: str) -> Blob:
    """Read a file of the workspace.

    Args:
        files: the workspace.
        path: relative to it.

    Raises:
        WorkspaceContentError: it is missing, is not a regular file, or cannot be read.
    """
    try:
        with opened_file(path, files) as file:
            return Blob(file.readall(), bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR))
    except OSError as exc:
        raise WorkspaceContentError(
            f"{show_name(path)} cannot be read as a regular file: {exc.strerror}; the task must leave it readable, "
            f"and must end every process that it started before it returns"
        ) from exc


def check_places(own: Overlay, tree: Tree) -> None:
    """Refuse a written file that would replace a directory, or be below a file, that the attempt did not see.

    The workspace must not replace files that include and exclude patterns hide.

    Raises:
        ObjectNameError
    """
    directories = {str(parent) for name in tree for parent in PurePosixPath(name).parents}
    for path, blob in own.items():
        if blob is None:
            continue
        beside = next((above for above in map(str, PurePosixPath(path).parents) if above in tree), None)
        if beside is None and path in directories:
            beside = next(name for name in tree if name.startswith(path + "/"))
        if beside is not None:
            raise ObjectNameError(
                f"{show_name(path)} cannot be written beside {show_name(beside)}, which the workspace's patterns leave "
                f"out: one of them would be both a directory and a file; write it elsewhere"
            )
