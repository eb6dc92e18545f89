"""Processes that may be using a repository, as far as they are visible here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def has_open(paths: Iterable[Path]) -> frozenset[Path]:
    """The files that some process has open."""
    wanted = {os.path.realpath(path): path for path in paths}
    if not wanted:
        return frozenset()
    return frozenset(wanted[path] for process in _processes() for path in _open_files(process) if path in wanted)


def git_at_work(repository: Path) -> list[int]:
    """Ids of git processes that work in a repository, or whose directory is unknown."""
    real = os.path.realpath(repository)
    return [process.pid for process in _processes() if _is_git(process) and _may_work_in(process, real)]


def _processes() -> Iterator[psutil.Process]:
    import psutil

    return (process for process in psutil.process_iter() if process.pid != os.getpid())


def _open_files(process: psutil.Process) -> list[str]:
    import psutil

    try:
        return [file.path for file in process.open_files()]
    except (psutil.Error, OSError):
        return []


def _is_git(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.name().startswith("git") and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True


def _may_work_in(process: psutil.Process, repository: str) -> bool:
    import psutil

    try:
        at = process.cwd()
        named = [os.path.realpath(Path(at, argument.rpartition("=")[2])) for argument in process.cmdline()]
        named.append(os.path.realpath(Path(at, process.environ().get("GIT_DIR", at))))
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError, ValueError):
        return True
    return any(path == repository or path.startswith(repository + os.sep) for path in (at, *named))
