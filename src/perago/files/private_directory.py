"""Private directories: only their user can change them. Creating them, and checking existing ones.

A user who can write to a directory of Perago's, or replace it, controls what an attempt reads and publishes. This user,
root, and the owner of "/" (which is how root looks in a user namespace) are trusted.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from perago.errors import RuntimeConfigError

OWNER_ONLY_DIRECTORY = 0o700

_FIRST_PERSON = 1000 if sys.platform == "linux" else 500
"""Lower user ids belong to the system (UID_MIN of login.defs; macOS counts from 501)."""

_MAX_LINKS = 40
"""Limit of symbolic links on the way to a directory, as in Linux."""


def make_directory(path: Path) -> None:
    """Create a directory for this user only, with missing parents. An existing one is not changed.

    Raises:
        OSError: it cannot be created.
    """
    missing = list(takewhile(lambda directory: not directory.exists(), (path, *path.parents)))
    for directory in reversed(missing):
        directory.mkdir(OWNER_ONLY_DIRECTORY, exist_ok=True)


def make_private(path: Path, what: str) -> None:
    """As `make_directory`, and check that no other user can change it.

    Args:
        what: its role for the message, such as "workspace root".

    Raises:
        RuntimeConfigError: another user can change it; the message says how to correct that.
        OSError: it cannot be created or checked.
    """
    make_directory(path)
    if (fault := fault_of(path)) is not None:
        raise RuntimeConfigError(f"{what} {path} {fault}")


def fault_of(path: Path) -> str | None:
    """Why a directory is not private and what to do, as the end of a sentence; None if it is private.

    Does not check the directories above it: see `fault_above`.

    Raises:
        OSError: it is not a directory, or cannot be checked.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(path))
    return _fault(path, status, "choose a directory of your own")


def fault_of_source(path: Path, environment: Mapping[str, str]) -> str | None:
    """Who else could change what is read from a file or directory, as the end of a sentence; None if nobody could.

    Checks the file or directory and every directory on the way, unless the environment says that nobody else uses this
    machine (`PERAGO_ROOT_PARENTS=trusted`).

    Args:
        path: absolute.
    """
    if environment.get("PERAGO_ROOT_PARENTS", "").strip().lower() == "trusted":
        return None
    try:
        return fault_above(path) or _fault(path, path.stat(), f"use one of your own{_OR_TRUST}")
    except OSError as exc:
        return f"cannot be checked: {exc.strerror}"


def _fault(path: Path, status: os.stat_result, remedy: str) -> str | None:
    if status.st_uid not in _trusted():
        return f"belongs to {_user(status.st_uid)}, who can change its content; {remedy}"
    writers = _other_writers(path, status)
    if writers is None:
        return None
    return f"can be written by {writers}; run `chmod go-w {shlex.quote(str(path))}`, or {remedy}"


def fault_above(path: Path) -> str | None:
    """Who could replace this directory and what to do, as the end of a sentence; None if nobody else could.

    Checks every directory on the way, also through symbolic links. In a sticky one, such as /tmp, only its owner and
    the owner of an entry can replace the entry. `fault_of` checks the directory itself.

    Args:
        path: absolute; need not exist.

    Raises:
        OSError: a directory on the way cannot be checked.
    """
    trusted = _trusted()
    for directory, entry in _steps(path):
        status = directory.lstat()
        if status.st_uid not in trusted:
            return (
                f"lies below {directory}, which belongs to {_user(status.st_uid)}, who could replace it; choose a "
                f"directory elsewhere{_OR_TRUST}"
            )
        writers = _other_writers(directory, status)
        if writers is None:
            continue
        if not status.st_mode & stat.S_ISVTX:
            return (
                f"lies below {directory}, where {writers} could replace it; run "
                f"`chmod +t {shlex.quote(str(directory))}`, choose a directory elsewhere{_OR_TRUST}"
            )
        if entry is not None and stat.S_ISLNK(entry.st_mode) and entry.st_uid not in trusted:
            return f"is reached by a symbolic link in {directory} that belongs to {_user(entry.st_uid)}; choose another"
    return None


_OR_TRUST = ", or set PERAGO_ROOT_PARENTS=trusted if nobody else uses this machine, as in a container"


def _steps(path: Path) -> Iterator[tuple[Path, os.stat_result | None]]:
    """Each directory that the system reads on its way to `path`, with the entry it finds there, or None."""
    at, names, links = Path(path.anchor), list(reversed(path.parts[1:])), 0
    while names:
        name = names.pop()
        if name == os.pardir:
            at = at.parent
            continue
        try:
            found = (at / name).lstat()
        except FileNotFoundError:
            yield at, None
            return
        yield at, found
        if not stat.S_ISLNK(found.st_mode):
            at /= name
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
        target = (at / name).readlink()
        at = Path(target.anchor) if target.is_absolute() else at
        names.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))


def _trusted() -> frozenset[int]:
    return frozenset({0, os.geteuid(), Path("/").stat().st_uid})


def _other_writers(path: Path, status: os.stat_result) -> str | None:
    """Who else may write to a file or directory of a trusted owner; None if nobody may."""
    mode = f"(mode {stat.S_IMODE(status.st_mode):04o})"
    if status.st_mode & stat.S_IWOTH:
        return f"all users {mode}"
    if status.st_mode & stat.S_IWGRP and (_has_acl(path) or _is_shared(status.st_gid)):
        return f"other users of its group {mode}"
    return None


def _has_acl(path: Path) -> bool:
    """Whether an ACL grants rights to named users. If none may write, the group's mode shows that."""
    if sys.platform != "linux":
        return False
    try:
        os.getxattr(path, "system.posix_acl_access")
    except OSError:
        return False
    return True


def _is_shared(gid: int) -> bool:
    """Whether other people may be in a group. Distributions give each user a group of their own."""
    import grp
    import pwd

    if gid == 0:
        return False
    try:
        group = grp.getgrgid(gid)
    except KeyError:  # a group id assigned by a container
        return gid not in (os.getegid(), *os.getgroups())
    users = {user.pw_uid: user for user in pwd.getpwall()}
    if os.geteuid() not in users:  # accounts of a directory service are not listed
        return group.gr_name != _name(os.geteuid())
    people = [user for uid, user in users.items() if uid >= _FIRST_PERSON and uid != os.geteuid()]
    return any(user.pw_gid == gid or user.pw_name in group.gr_mem for user in people)


def _user(uid: int) -> str:
    name = _name(uid)
    return f"user {uid}" if name is None else f"user {name}"


def _name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
