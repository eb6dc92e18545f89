"""Opening a repository, and the errors of libgit2 as ours.

Each process and each thread opens a repository of its own: libgit2 shares neither well, and a handle does not survive
a fork.
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

_FULL_ID = re.compile(r"[0-9a-f]{40}")
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_DISK_TEXTS = tuple(os.strerror(number) for number in _DISK_ERRNOS)
"""libgit2 tells the cause of an `OSError` in words only."""

GIT_FAULTS = (pygit2.GitError, OSError, KeyError, ValueError)
"""What pygit2 raises: a class by kind of fault, none of them its own for a lost swap or a busy lock."""

CACHE_BYTES = 2 << 20
"""Of objects that libgit2 keeps in memory in a process, over all repositories; by itself it would keep 256 MiB, and an
executor grew by 3 KiB with each attempt until then. A scan of 5,000 stamped commits takes 94 ms with it when it is done
again, and 45 without. What a body does with pygit2 in its executor has the same bound."""

_VANISHED_TRIES = 20
T = TypeVar("T")


class BareRepository:
    """A bare repository on disk, opened when it is first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()

    @property
    def handle(self) -> pygit2.Repository:
        """This process's and this thread's open repository.

        Raises:
            RepositoryNotFoundError, StoreError: it cannot be opened; says why, and the mend.
        """
        if getattr(self._own, "pid", None) != os.getpid():
            self._own.repository = _open(self.path)
            self._own.pid = os.getpid()
        repository: pygit2.Repository = self._own.repository
        return repository

    def commit(self, commit_id: str) -> pygit2.Commit:
        """A commit by its full id.

        Raises:
            StoreError: it is not there, or is something else.
        """
        with translated(f"reading commit {commit_id}", self.path):
            found = self.handle[commit_id]
        if not isinstance(found, pygit2.Commit):
            raise StoreError(
                f"{commit_id} in repository {self.path} is no commit. Run {git_command(self.path, 'fsck')}"
            )
        return found

    def input_commit(self, ref: str) -> pygit2.Commit:
        """The commit that an input ref names.

        Raises:
            RefNotFoundError: it is no full commit id, or there is no such commit.
        """
        if not _FULL_ID.fullmatch(ref):
            raise RefNotFoundError(
                f"input ref {ref!r} is no full commit id (40 lower-case hex digits). A branch, a tag or a short id may "
                f"mean another commit tomorrow; resolve it first, with "
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
                f"input ref {ref} is a {found.type_str}, no commit. Give the id of the commit, "
                f"as {git_command(self.path, 'rev-parse', f'{ref}^{{commit}}')} prints it"
            )
        return found

    def branch_head(self, branch: str) -> str:
        """Full id of the commit that a branch points at.

        Raises:
            BranchNotFoundError: there is no such branch, or it is only another name for one.
        """
        head = self.find_branch_head(branch)
        if head is None:
            raise BranchNotFoundError(
                f"repository {self.path} has no branch {branch!r}. Make it from a directory with "
                f"{_import_command(self.path, branch)}, or from a commit with "
                f"{git_command(self.path, 'branch', branch, 'ID')}"
            )
        return head

    def find_branch_head(self, branch: str) -> str | None:
        """As `branch_head`, but None where there is no such branch."""
        name = branch_ref(branch)
        with translated(f"reading branch {branch!r}", self.path):
            reference = self.handle.references.get(name)
            if reference is None:
                return None
            if reference.type != ReferenceType.DIRECT:
                raise BranchNotFoundError(
                    f"branch {branch!r} of {self.path} is only another name for {reference.target}; give that one"
                )
            return str(reference.target)


def branch_ref(branch: str) -> str:
    """Name of the reference that a branch is."""
    # Interned, as pygit2 1.21 never lets go of a name that it looks up: so there is one of each, not one of each look.
    return sys.intern(f"refs/heads/{branch}")


def git_command(repository: Path, *arguments: str) -> str:
    """A command for a person to run in a repository, as a message has it: it can be pasted into a shell."""
    return f"`{shlex.join(['git', '-C', str(repository), *arguments])}`"


def _import_command(repository: Path, branch: str) -> str:
    return f"`{shlex.join(['perago', 'import', 'DIR', '--repo', str(repository), '--branch', branch])}`"


def storage_error(exc: BaseException, doing: str, where: Path) -> PeragoError:
    """What a fault of the disk or of libgit2 is to our callers."""
    said = str(exc) or type(exc).__name__
    is_disk = isinstance(exc, OSError) and exc.errno in _DISK_ERRNOS
    if is_disk or any(text in said for text in _DISK_TEXTS):
        return WorkspaceStorageError(
            f"{doing}: the disk under {where} refused: {said}. Free space or mend the disk, then try again; "
            f"nothing was published"
        )
    if (isinstance(exc, PermissionError)) or os.strerror(errno.EACCES) in said:
        return StoreError(f"{doing}: no permission in {where}: {said}. Give this user the right to read and write it")
    if "failed to parse config file" in said:  # libgit2 says which one, and the line
        return StoreError(f"{doing}: git's settings cannot be read: {said}. Mend that file")
    return StoreError(
        f"{doing}: {where} could not be used: {said}. If this comes again, see what {git_command(where, 'fsck')} says"
    )


def while_directories_vanish(call: Callable[[], T]) -> T:
    """Call again where a directory went away under it: git's housekeeping removes those that are empty for a moment."""
    for _ in range(_VANISHED_TRIES):
        try:
            return call()
        except GIT_FAULTS as exc:
            if os.strerror(errno.ENOENT) not in str(exc):
                raise
    return call()


@contextmanager
def translated(doing: str, where: Path) -> Iterator[None]:
    """Raise what pygit2 and the file system raise as an error of ours that says what was being done."""
    try:
        yield
    except PeragoError:
        raise
    except GIT_FAULTS as exc:
        raise storage_error(exc, doing, where) from exc


def _open(path: Path) -> pygit2.Repository:
    # Objects and references reach the disk before they count: libgit2 syncs nothing unless told to.
    pygit2.option(Option.ENABLE_FSYNC_GITDIR, True)
    pygit2.option(Option.SET_CACHE_MAX_SIZE, CACHE_BYTES)
    if not path.exists():
        raise RepositoryNotFoundError(
            f"there is no repository at {path}. Make one with {_import_command(path, 'main')}"
        )
    try:
        # Without the flag libgit2 would take the repository of any directory above.
        repository = pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except GIT_FAULTS as exc:
        raise _unopened(exc, path) from exc
    if not repository.is_bare:
        raise RepositoryNotFoundError(
            f"{path} is a repository with a work tree, which would not follow when its branch moves. Give a bare one: "
            f"`git clone --bare {shlex.quote(str(path))} NEW.git`"
        )
    return repository


def _unopened(exc: Exception, path: Path) -> PeragoError:
    if "not owned by current user" in str(exc):
        return StoreError(
            f"repository {path} belongs to another user, and git refuses it. If you trust that user, run "
            f"`git config --global --add safe.directory {shlex.quote(str(path.resolve()))}`"
        )
    if "repository not found" in str(exc).lower():
        return RepositoryNotFoundError(
            f"{path} is no git repository. Give the path of a bare one, or a new path to "
            f"`perago import DIR --repo PATH --branch main`, which makes it"
        )
    return storage_error(exc, "opening the repository", path)
