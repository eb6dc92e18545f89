"""What this process has open: descriptors, and files of a workspace that are still being written."""

from __future__ import annotations

import fcntl
import gc
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from perago.errors import TaskExecutionError
from perago.values.names import show_name

_SHOWN = 5


def open_descriptors() -> frozenset[tuple[int, str]] | None:
    """The descriptors of this process, each with what it leads to. None: this system does not tell."""
    if sys.platform != "linux":
        return None
    return frozenset(_descriptors())


def refuse_open_files(task_name: str, workspace: Path | None) -> None:
    """Refuse a workspace in which this process still writes a regular file: what is in its buffer is not known.

    Called where a body has run in this process, which goes on: in a process of its own, Python closes its files.

    Args:
        workspace: None: the task has none.

    Raises:
        TaskExecutionError: names the files.
    """
    if workspace is None or not _written(workspace):
        return
    gc.collect()  # what is in reference cycles is closed by this
    left = _written(workspace)
    if left:
        named = ", ".join(map(show_name, left[:_SHOWN])) + (f" and {len(left) - _SHOWN} more" if left[_SHOWN:] else "")
        raise TaskExecutionError(
            f"task {task_name!r}: the body has returned with files still open for writing: {named}. Close files before "
            f"the body returns, with a `with` block for instance"
        )


def _written(workspace: Path) -> list[str]:
    """The regular files below a directory that are open for writing, relative to it."""
    root = f"{os.path.realpath(workspace)}{os.sep}"
    return sorted(
        {
            path.removeprefix(root)
            for handle, path in _descriptors()
            if path.startswith(root) and _is_written(handle) and Path(path).exists()
        }
    )


def _is_written(handle: int) -> bool:
    try:
        mode = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE
        return mode != os.O_RDONLY and stat.S_ISREG(os.fstat(handle).st_mode)
    except OSError:  # closed meanwhile, by another thread
        return False


def _descriptors() -> Iterator[tuple[int, str]]:
    directory = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
    for name in os.listdir(directory):  # noqa: PTH208 - numbers, not paths
        try:
            yield int(name), _leads_to(int(name))
        except OSError:  # that of the listing itself, or closed meanwhile
            continue


def _leads_to(handle: int) -> str:
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(handle, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{handle}")  # noqa: PTH115 - what it leads to may be no path
