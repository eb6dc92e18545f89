"""Opening a repository, and translating the errors of libgit2.

Each process and each thread opens its own handle: libgit2 handles should not be shared, and do not survive a fork.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pygit2
from pygit2.enums import Option, ReferenceType, RepositoryOpenFlag

from perago.errors import (
    BranchNotFoundError,
    PeragoError,
    RefNotFoundError,
    RepositoryNotFoundError,
    StoreError,
    WorkspaceStorageError,
)
from perago.files.beneath import REPLACED
from perago.stores.git.files import RepositoryFiles, shared_mode
from perago.stores.git.trust import check_repository, or_trust
from perago.stores.git.worktrees import work_tree_on

_FULL_ID = re.compile(r"[0-9a-f]{40}")
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_DISK_TEXTS = tuple(os.strerror(number) for number in _DISK_ERRNOS)
"""libgit2 reports the cause of an `OSError` only as text."""

GIT_FAULTS = (pygit2.GitError, OSError, KeyError, ValueError)
"""What pygit2 raises. It has no class of its own for a lost swap or a held lock."""

CACHE_BYTES = 2 << 20
"""Limit of libgit2's object cache per process, for all repositories. With the default of 256 MiB, an executor grew by
3 KiB per attempt. A repeated scan of 5,000 stamped commits takes 94 ms with this limit, and 45 ms without. The limit
also applies to a body that uses pygit2 in its executor."""

_VANISHED_TRIES = 20
T = TypeVar("T")


class BareRepository:
    """A bare repository on disk, opened on first use, and then checked: see `trust.check_repository`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()

    @property
    def handle(self) -> pygit2.Repository:
        """The open repository of this process and thread.

        Raises:
            RepositoryNotFoundError, StoreError: it cannot be opened; the message says why and what to do.
        """
        if getattr(self._own, "pid", None) != os.getpid():
            self._own.repository = _open(self.path)
            self._own.pid = os.getpid()
        repository: pygit2.Repository = self._own.repository
        return repository

    def files(self) -> RepositoryFiles:
        """Access to Perago's own files in it. The caller closes it.

        Raises:
            RepositoryNotFoundError, StoreError: as `handle`.
            OSError: its directory cannot be opened.
        """
        return RepositoryFiles(self.path, shared_mode(_setting(self.handle, "core.sharedRepository")))

    def commit(self, commit_id: str) -> pygit2.Commit:
        """A commit by its full id.

        Raises:
            StoreError: it is missing, or is not a commit.
        """
        with translated(f"reading commit {commit_id}", self.path):
            found = self.handle[commit_id]
        if not isinstance(found, pygit2.Commit):
            raise StoreError(
                f"{commit_id} in repository {self.path} is not a commit. Run {git_command(self.path, 'fsck')}"
            )
        return found

    def input_commit(self, ref: str) -> pygit2.Commit:
        """The commit of an input ref.

        Raises:
            RefNotFoundError: it is not a full commit id, or there is no such commit.
        """
        if not _FULL_ID.fullmatch(ref):
            raise RefNotFoundError(
                f"input ref {ref!r} is not a full commit id (40 lower-case hex digits). A branch, a tag or a short id "
                f"can change its meaning; resolve it first, with "
                f"{git_command(self.path, 'rev-parse', f'{ref}^{{commit}}')}"
            )
        with translated(f"reading input ref {ref}", self.path):
            found = self.handle.get(ref)
        if found is None:
            raise RefNotFoundError(
                f"repository {self.path} has no commit {ref}. Give the id of a commit in this repository; "
                f"{git_command(self.path, 'log', '--all')} lists them"
            )
        if not isinstance(found, pygit2.Commit):
            raise RefNotFoundError(
                f"input ref {ref} is a {found.type_str}, not a commit. Give the commit's id, "
                f"which {git_command(self.path, 'rev-parse', f'{ref}^{{commit}}')} prints"
            )
        return found

    def named_commit(self, source: str) -> str:
        """Full id of the commit that `source` names: a full commit id, or a branch, for its head.

        Raises:
            RefNotFoundError, BranchNotFoundError: there is no such commit or branch.
        """
        return str(self.input_commit(source).id) if _FULL_ID.fullmatch(source) else self.branch_head(source)

    def branch_head(self, branch: str) -> str:
        """Full id of the commit that a branch points at.

        Raises:
            BranchNotFoundError: there is no such branch; or as `find_branch_head`.
        """
        head = self.find_branch_head(branch)
        if head is None:
            raise BranchNotFoundError(
                f"repository {self.path} has no branch {branch!r}. Create it from a directory with "
                f"{_import_command(self.path, branch)}, or from a commit with "
                f"{git_command(self.path, 'branch', branch, 'ID')}"
            )
        return head

    def find_branch_head(self, branch: str) -> str | None:
        """As `branch_head`, but returns None if there is no such branch.

        Raises:
            BranchNotFoundError: it is an alias of another one, or is checked out in a work tree.
        """
        name = branch_ref(branch)
        tree = work_tree_on(self.path, name)
        if tree is not None:
            raise BranchNotFoundError(
                f"branch {branch!r} of {self.path} is checked out in the work tree {tree}, which would not follow when "
                f"the branch moves. Release it with {git_command(tree, 'switch', '--detach')}, or give another branch"
            )
        with translated(f"reading branch {branch!r}", self.path):
            reference = self.handle.references.get(name)
            if reference is None:
                return None
            if reference.type != ReferenceType.DIRECT:
                raise BranchNotFoundError(
                    f"branch {branch!r} of {self.path} is an alias of {reference.target}; give that branch"
                )
            return str(reference.target)


def branch_ref(branch: str) -> str:
    """Name of a branch's reference."""
    # Interned, because pygit2 1.21 leaks each name that it looks up: one per name instead of one per lookup.
    return sys.intern(f"refs/heads/{branch}")


def git_command(repository: Path, *arguments: str) -> str:
    """A command to run in a repository, for a message. It can be pasted into a shell."""
    return f"`{shlex.join(['git', '-C', str(repository), *arguments])}`"


def _import_command(repository: Path, branch: str) -> str:
    return f"`{shlex.join(['perago', 'import', 'DIR', '--repo', str(repository), '--branch', branch])}`"


def storage_error(exc: BaseException, doing: str, where: Path) -> PeragoError:
    """Convert an error of the disk or of libgit2."""
    said = str(exc) or type(exc).__name__
    is_disk = isinstance(exc, OSError) and exc.errno in _DISK_ERRNOS
    if is_disk or any(text in said for text in _DISK_TEXTS):
        return WorkspaceStorageError(
            f"{doing}: the disk under {where} refused: {said}. Free space or repair the disk, then try again; "
            f"nothing was published"
        )
    if (isinstance(exc, PermissionError)) or os.strerror(errno.EACCES) in said:
        return StoreError(f"{doing}: no permission in {where}: {said}. Give this user permission to read and write it")
    if isinstance(exc, OSError) and exc.errno in REPLACED:
        return StoreError(
            f"{doing}: {exc.filename!r} in {where} is a link, or a file in place of a directory. Perago follows no "
            f"links in a repository; put the directory itself there"
        )
    if "failed to parse config file" in said:  # libgit2 names the file and the line
        return StoreError(f"{doing}: git's settings cannot be read: {said}. Correct that file")
    return StoreError(
        f"{doing}: {where} could not be used: {said}. If this happens again, run {git_command(where, 'fsck')}"
    )


def while_directories_vanish(call: Callable[[], T]) -> T:
    """Retry if a directory vanished: git's housekeeping removes directories that are empty for a moment."""
    for _ in range(_VANISHED_TRIES):
        try:
            return call()
        except GIT_FAULTS as exc:
            if os.strerror(errno.ENOENT) not in str(exc):
                raise
    return call()


@contextmanager
def translated(doing: str, where: Path) -> Iterator[None]:
    """Convert errors of pygit2 and the file system, with a description of the action."""
    try:
        yield
    except PeragoError:
        raise
    except GIT_FAULTS as exc:
        raise storage_error(exc, doing, where) from exc


def _open(path: Path) -> pygit2.Repository:
    # libgit2 syncs only if told to; objects and references must reach the disk before they count.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    pygit2.option(Option.SET_CACHE_MAX_SIZE, CACHE_BYTES)
    try:
        path.stat()
        # Without the flag, libgit2 would accept a repository in a parent directory.
        repository = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise RepositoryNotFoundError(
            f"there is no repository at {path}. Create one with {_import_command(path, 'main')}"
        ) from exc
    except GIT_FAULTS as exc:
        raise _unopened(exc, path) from exc
    # A file or directory `.git` would lead libgit2, but not Perago, to another place.
    if not repository.is_bare or os.path.realpath(repository.path) != os.path.realpath(path):
        raise RepositoryNotFoundError(
            f"{path} is a repository with a work tree, which would not follow when its branch moves. Give a bare one: "
            f"`git clone --bare {shlex.quote(str(path))} NEW.git`"
        )
    with translated("checking the repository", path):
        check_repository(path)
    return repository


def _setting(repository: pygit2.Repository, key: str) -> str | None:
    try:
        return repository.config[key]
    except (KeyError, UnicodeDecodeError):
        return None


def _unopened(exc: Exception, path: Path) -> PeragoError:
    if "not owned by current user" in str(exc):
        return StoreError(
            f"repository {path} belongs to another user, who can change it, so git refuses it. {or_trust(path)}"
        )
    if "repository not found" in str(exc).lower():
        return RepositoryNotFoundError(
            f"{path} is not a git repository. Give the path of a bare one, or a new path to "
            f"`perago import DIR --repo PATH --branch main`, which creates it"
        )
    return storage_error(exc, "opening the repository", path)
