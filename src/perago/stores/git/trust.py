"""Which repositories are used: those that only this user can change, or that the user has called safe.

Whoever can write to a repository decides what is published. git refuses repositories of other users unless the user's
own configuration names them as `safe.directory`. The same setting permits one that others can write to, as in a group.
Nothing in a repository may lead out of it, trusted or not.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pygit2

from perago.errors import StoreError
from perago.files.private_directory import fault_of

_WRITTEN = (
    "objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/perago", "refs/perago/staging",
    "packed-refs", "logs", "logs/HEAD", "logs/refs", "logs/refs/heads", "perago", "perago/runs", "lfs",
    "lfs/objects", "lfs/tmp",
)  # fmt: skip
"""What Perago and libgit2 write to. What lies deeper is checked when it is written."""

_LEVELS: tuple[Callable[[], pygit2.Config], ...] = (
    pygit2.Config.get_system_config, pygit2.Config.get_xdg_config, pygit2.Config.get_global_config,
)  # fmt: skip
"""The configuration of the machine and of the user, never of the repository. A later one counts more."""


def check_repository(path: Path) -> None:
    """Refuse a repository that other users can change, or that leads to other places.

    Raises:
        StoreError: the message says who could change what, or what leads where, and what to do.
        OSError: it cannot be checked.
    """
    if os.path.lexists(path / "commondir"):
        raise StoreError(
            f"repository {path} shares the references of another one, which its file 'commondir' names. Give that one"
        )
    places = dict(_places(path))
    for name, status in places.items():
        check_no_link(path, name, status)
    inner = (name for name, status in places.items() if stat.S_ISDIR(status.st_mode))
    faults = ((name, fault_of(path / name)) for name in ("", *inner))
    name, fault = next(((name, fault) for name, fault in faults if fault is not None), ("", None))
    if fault is not None and not is_trusted(path):
        raise StoreError(f"repository {path} {f'has {name}, which ' if name else ''}{fault}. {or_trust(path)}")


def check_no_link(path: Path, name: str, status: os.stat_result) -> None:
    """Refuse a link in a repository, through which something outside of it would be written.

    Raises:
        StoreError
    """
    is_appended_to = name.startswith("logs/") and stat.S_ISREG(status.st_mode)
    if stat.S_ISLNK(status.st_mode) or (is_appended_to and status.st_nlink > 1):
        raise StoreError(
            f"{name} in repository {path} is a link. Perago follows no links in a repository, because they lead out of "
            f"it; put the file or directory itself there"
        )


def is_trusted(path: Path) -> bool:
    """Whether the user's or the machine's git configuration names a repository as `safe.directory`.

    By libgit2's rules, which opens the repository: its real path, or `*` for all. An empty value forgets earlier ones.
    """
    real, trusted = os.path.realpath(path), False
    for value in _safe_directories():
        trusted = bool(value) and (trusted or value == "*" or value.removeprefix("%(prefix)/") == real)
    return trusted


def or_trust(path: Path) -> str:
    """How a user trusts a repository, as the last sentence of a refusal."""
    real = shlex.quote(os.path.realpath(path))
    return f"If you trust those who can, run `git config --global --add safe.directory {real}`"


def _places(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    for name in _WRITTEN:
        try:
            yield name, (path / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue


def _safe_directories() -> Iterator[str]:
    for level in _LEVELS:
        try:
            yield from (value or "" for value in level().get_multivar("safe.directory"))
        except (OSError, KeyError, pygit2.GitError):  # there is no such file, or no such value
            continue
