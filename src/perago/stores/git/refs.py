"""Moving references: the one place that writes any, always under our lock, always from a known value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pygit2

from perago.errors import BranchNotFoundError, HeadMovedError, StoreError
from perago.ports import Clock
from perago.stores.git.history import first_parents
from perago.stores.git.locks import Patience, RefLock, hold
from perago.stores.git.repository import GIT_FAULTS, Repository, branch_ref, storage_error, translated

STAGING = "refs/perago/staging/"
"""References that keep staged commits alive: `git gc` removes what hangs on none."""

_LOOKED_BACK = 1_000
"""First-parent commits that are searched for a publication whose answer was unclear."""

_TRIES = 100
"""Attempts at a swap that git's own lock got in the way of; each waits until that lock is gone."""


@dataclass(frozen=True)
class References:
    """The references of one repository that Perago writes."""

    repository: Repository
    clock: Clock
    patience: Patience

    def swap_branch(self, branch: str, expected: str, new: str, message: str) -> None:
        """Move a branch from `expected` to `new`, a commit on top of it: exactly once, or not at all.

        A fault is settled by looking: if the branch has the new commit, it was moved.

        Raises:
            HeadMovedError: it stands elsewhere, and does not have the new commit.
            BranchNotFoundError: it is gone.
            StoreError, WorkspaceStorageError: it could not be moved, and was not.
        """
        name = branch_ref(branch)
        with hold(self.repository.path, self.patience, self.clock) as lock:
            for _ in range(_TRIES):
                if self._settled(branch, expected, new):
                    return
                fault = self._try_swap(lock, name, expected, new, message)
                if fault is not None and not self._was_locked(name, fault) and not self._settled(branch, expected, new):
                    raise storage_error(fault, f"publishing to branch {branch!r}", self.repository.path) from fault
        raise StoreError(f"branch {branch!r} was locked by git each of {_TRIES} times; nothing was published")

    def create_branch(self, branch: str, commit_id: str) -> None:
        """Make a branch that is not there yet.

        Raises:
            HeadMovedError: it is there.
        """
        name = branch_ref(branch)
        with translated(f"making branch {branch!r}", self.repository.path), self._moving(name, commit_id):
            try:
                self.repository.handle.references.create(name, commit_id)
            except pygit2.AlreadyExistsError as exc:
                raise HeadMovedError(f"branch {branch!r} was made by somebody else meanwhile") from exc

    def keep_staged(self, staging_name: str, commit_id: str) -> str:
        """Hang a staged commit on a reference of its own; returns the reference's name."""
        name = STAGING + staging_name
        with translated("keeping the staged commit", self.repository.path), self._moving(name, commit_id):
            self.repository.handle.references.create(name, commit_id, force=True)
        return name

    def drop_staged(self, name: str) -> None:
        """Remove a staging reference; one that is not there is fine."""
        assert name.startswith(STAGING), name
        with translated(f"removing {name}", self.repository.path):
            if self.repository.handle.references.get(name) is None:
                return
            with self._moving(name, ""):
                reference = self.repository.handle.references.get(name)
                if reference is not None:
                    reference.delete()

    def staged(self) -> Iterator[tuple[str, str]]:
        """Name and commit id of every staging reference."""
        with translated("listing staged commits", self.repository.path):
            for name in self.repository.handle.references:
                if name.startswith(STAGING):
                    reference = self.repository.handle.references.get(name)
                    if reference is not None:
                        yield name, str(reference.target)

    @contextmanager
    def _moving(self, name: str, target: str) -> Iterator[None]:
        locks = (f"{name}.lock",) if target else (f"{name}.lock", "packed-refs.lock")
        with hold(self.repository.path, self.patience, self.clock) as lock, lock.moving(locks, target):
            yield

    def _try_swap(self, lock: RefLock, name: str, expected: str, new: str, message: str) -> Exception | None:
        """One compare-and-swap; returns what it failed with."""
        with lock.moving((f"{name}.lock",), new):
            try:
                reference = self.repository.handle.references.get(name)
                # libgit2 compares with what this object was read as, under git's lock; and this is the value we expect.
                if reference is not None and str(reference.target) == expected:
                    reference.set_target(new, message)
            except GIT_FAULTS as exc:
                return exc
        return None

    def _settled(self, branch: str, expected: str, new: str) -> bool:
        """Whether the branch has the new commit; raises where it can have it no more."""
        head = self.repository.find_branch_head(branch)
        if head is None:
            raise BranchNotFoundError(
                f"branch {branch!r} of {self.repository.path} was deleted while this attempt ran; nothing was "
                f"published. Make it again with `git -C {self.repository.path} branch {branch} {expected}`"
            )
        if head == expected:
            return False
        if self._is_published(head, expected, new):
            return True
        raise HeadMovedError(f"branch {branch!r} moved from {expected[:12]} to {head[:12]}; nothing was published")

    def _is_published(self, head: str, expected: str, new: str) -> bool:
        """Whether a commit is on the first-parent line from the head to what it was put on."""
        for commit in first_parents(self.repository, head, _LOOKED_BACK):
            if str(commit.id) == new:
                return True
            if str(commit.id) == expected:
                return False
        return False

    def _was_locked(self, name: str, fault: Exception) -> bool:
        """Whether git's own lock was in the way: it may be gone again by now."""
        return "lock" in str(fault) or (self.repository.path / f"{name}.lock").exists()
