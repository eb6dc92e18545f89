"""Moving references. Only this module writes them, always under Perago's lock and from a known value."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pygit2
from pygit2.enums import ReferenceFilter, ReferenceType

from perago.errors import BranchNotFoundError, HeadMovedError, PeragoError, StoreError
from perago.ports import Clock
from perago.stores.git.history import first_parents
from perago.stores.git.locks import PACKED_REFS_LOCK, Patience, RefLock, hold
from perago.stores.git.reference_files import within_repository
from perago.stores.git.repository import (
    GIT_FAULTS,
    BareRepository,
    branch_ref,
    git_command,
    storage_error,
    translated,
    while_directories_vanish,
)
from perago.values.models import RUN_PREFIX

STAGING = "refs/perago/staging/"
"""References that protect staged commits from `git gc`."""

_LOOKED_BACK = 1_000
"""First-parent commits searched for a publication after an unclear answer."""

_TRIES = 100
"""Tries of one write if git's own lock is in the way. Each waits until that lock is gone."""

_LOCKED = re.compile(r"failed to lock file|failed to create locked file .*" + re.escape(os.strerror(errno.EEXIST)))
"""libgit2's messages for a lock held by another process; the error has no class of its own."""


@dataclass(frozen=True)
class References:
    """The references of one repository that Perago writes."""

    repository: BareRepository
    clock: Clock
    patience: Patience

    def swap_branch(self, branch: str, expected: str, new: str, message: str) -> None:
        """Move a branch from `expected` to `new`, a commit on top of it: exactly once, or not at all.

        After a fault, the branch shows the outcome: it was moved if it contains the new commit.

        Raises:
            HeadMovedError: it has another head, without the new commit.
            BranchNotFoundError: it was deleted.
            StoreError, WorkspaceStorageError: it was not moved because of a fault.
        """
        name = branch_ref(branch)
        with hold(self.repository, self.patience, self.clock) as lock:
            if self._settled(branch, expected, new):
                return
            try:
                self._write(lock, name, new, lambda: self._compare_and_swap(name, expected, new, message))
            except (*GIT_FAULTS, StoreError) as fault:
                if not self._settled(branch, expected, new):
                    raise _as_perago_error(fault, f"publishing to branch {branch!r}", self.repository) from fault
            if not self._settled(branch, expected, new):
                raise HeadMovedError(
                    f"branch {branch!r} moved away from {expected[:12]} and back; nothing was published"
                )

    def create_branch(self, branch: str, commit_id: str) -> None:
        """Create a branch.

        Raises:
            HeadMovedError: it exists.
            BranchNotFoundError: its name conflicts with that of another branch.
        """
        name = branch_ref(branch)
        try:
            self._write_alone(name, commit_id, lambda: self.repository.handle.references.create(name, commit_id))
        except pygit2.AlreadyExistsError as exc:
            raise HeadMovedError(f"somebody else created branch {branch!r} at the same time") from exc
        except GIT_FAULTS as exc:
            if (rival := self._rival(branch)) is not None:
                raise BranchNotFoundError(
                    f"repository {self.repository.path} has branch {rival!r}, so git cannot create {branch!r}: "
                    f"one name would be a file and a directory. Give the branch another name"
                ) from exc
            raise storage_error(exc, f"creating branch {branch!r}", self.repository.path) from exc

    def _rival(self, branch: str) -> str | None:
        """A branch whose name extends this one after a slash, or the reverse."""
        with translated("listing the branches", self.repository.path):
            names = self.repository.handle.branches.local
            rivals = (name for name in names if name.startswith(f"{branch}/") or branch.startswith(f"{name}/"))
            return next(rivals, None)

    def keep_staged(self, staging_name: str, commit_id: str) -> str:
        """Keep a staged commit with a reference of its own. Returns the reference's name."""
        name = STAGING + staging_name
        with translated("keeping the staged commit", self.repository.path):
            self._write_alone(
                name, commit_id, lambda: self.repository.handle.references.create(name, commit_id, force=True)
            )
        return name

    def drop_staged(self, name: str) -> None:
        """Remove a staging reference. A missing one is fine."""
        if not name.startswith(STAGING):
            raise StoreError(f"{name!r} is not a staging reference of Perago's, so it was not removed")
        self._remove(name)

    def drop_branch(self, branch: str, head: str) -> bool:
        """Remove a branch, unless it has moved from `head`. Returns whether it is gone."""
        return self._remove(branch_ref(branch), head)

    def _remove(self, name: str, only_at: str | None = None) -> bool:
        """Remove a reference. Returns False if it is kept because its target is not `only_at`.

        A concurrent `git pack-refs` may have read the reference before its removal and write it again, which libgit2
        does not prevent. So this checks again when no process packs references.
        """
        with translated(f"removing {name}", self.repository.path):
            if self._target(name) is None:
                return True
            with hold(self.repository, self.patience, self.clock) as lock:
                for _ in range(_TRIES):
                    self._write(lock, name, "", lambda: self._delete(name, only_at))
                    lock.wait_for_git(PACKED_REFS_LOCK)
                    target = self._target(name)
                    if target is None:
                        return True
                    if only_at not in (None, target):
                        return False
        raise StoreError(
            f"{name} came back after each of {_TRIES} removals; remove it with "
            f"{git_command(self.repository.path, 'update-ref', '-d', name)}"
        )

    def staged(self) -> Iterator[tuple[str, str]]:
        """Name and commit id of every staging reference."""
        return self._below(STAGING)

    def run_branches(self) -> Iterator[tuple[str, str]]:
        """Name and head of every branch whose name begins like that of a transactional run's."""
        heads = branch_ref("")
        return ((name.removeprefix(heads), head) for name, head in self._below(heads + RUN_PREFIX))

    def heads(self) -> list[str]:
        """Full ids of the heads of all branches, those of runs included. Aliases of other branches are left out."""
        with translated("listing the branches", self.repository.path):
            branches = self.repository.handle.references.iterator(ReferenceFilter.BRANCHES)
            return [str(branch.target) for branch in branches if branch.type == ReferenceType.DIRECT]

    def _below(self, prefix: str) -> Iterator[tuple[str, str]]:
        with translated("listing the references", self.repository.path):
            for name in self.repository.handle.references:
                target = self._target(name) if name.startswith(prefix) else None
                if target is not None:
                    yield name, target

    def _write_alone(self, name: str, target: str, write: Callable[[], object]) -> None:
        with hold(self.repository, self.patience, self.clock) as lock:
            self._write(lock, name, target, write)

    def _write(self, lock: RefLock, name: str, target: str, write: Callable[[], object]) -> None:
        """Write one reference. Retry while git's own locks are in the way. `target` is "" for a deletion."""
        locks = (f"{name}.lock",) if target else (f"{name}.lock", PACKED_REFS_LOCK)
        for _ in range(_TRIES):
            with lock.moving(locks, target):
                try:
                    with within_repository(lock.files, self.repository.path, name):
                        while_directories_vanish(write)
                except GIT_FAULTS as exc:
                    if not _LOCKED.search(str(exc)):
                        raise
                else:
                    return
        raise StoreError(f"git locked {name} during each of {_TRIES} tries, and it was not written. Try again")

    def _target(self, name: str) -> str | None:
        reference = self.repository.handle.references.get(name)
        return None if reference is None else str(reference.target)

    def _delete(self, name: str, only_at: str | None) -> None:
        reference = self.repository.handle.references.get(name)
        # libgit2 compares with the value of this object, under git's lock.
        if reference is not None and only_at in (None, str(reference.target)):
            reference.delete()

    def _compare_and_swap(self, name: str, expected: str, new: str, message: str) -> None:
        reference = self.repository.handle.references.get(name)
        # libgit2 compares with the value of this object, under git's lock. That is the expected value.
        if reference is not None and str(reference.target) == expected:
            reference.set_target(new, message)

    def _settled(self, branch: str, expected: str, new: str) -> bool:
        """Whether the branch has the new commit. Raises if the swap has become impossible."""
        head = self.repository.find_branch_head(branch)
        if head is None:
            raise BranchNotFoundError(
                f"branch {branch!r} of {self.repository.path} was deleted while this attempt ran; nothing was "
                f"published. Create it again with {git_command(self.repository.path, 'branch', branch, expected)}"
            )
        if head == expected:
            return False
        if self._is_published(head, expected, new):
            return True
        raise HeadMovedError(f"branch {branch!r} moved from {expected[:12]} to {head[:12]}; nothing was published")

    def _is_published(self, head: str, expected: str, new: str) -> bool:
        """Whether a commit is on the first-parent line between the head and its own parent."""
        for commit in first_parents(self.repository, head, _LOOKED_BACK):
            if str(commit.id) == new:
                return True
            if str(commit.id) == expected:
                return False
        return False


def _as_perago_error(fault: Exception, doing: str, repository: BareRepository) -> PeragoError:
    return fault if isinstance(fault, PeragoError) else storage_error(fault, doing, repository.path)
