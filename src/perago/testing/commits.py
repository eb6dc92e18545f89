"""Commits, branches and staging references in memory: what the in-memory store stands on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from perago.errors import BranchNotFoundError, HeadMovedError, StoreError
from perago.values.history import Stamp


class Blob(NamedTuple):
    """A file of a commit."""

    content: bytes
    executable: bool = False


Tree = Mapping[str, Blob]
"""Object name -> file. Any name is taken, as a real store takes it."""

Overlay = Mapping[str, Blob | None]
"""Object name -> what is to stand there; None: nothing."""

EMPTY: Tree = MappingProxyType({})


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        id: 40 hex digits.
        parent: id of the first parent; None on a root.
    """

    id: str
    parent: str | None
    tree: Tree = field(repr=False)
    stamp: Stamp | None = None
    author: str = ""
    subject: str = ""


def put(tree: Tree, overlay: Overlay) -> Tree:
    """The tree with the overlay on it."""
    merged: dict[str, Blob | None] = {**tree, **overlay}
    return MappingProxyType({path: blob for path, blob in sorted(merged.items()) if blob is not None})


def changed(before: Tree, after: Tree) -> dict[str, Blob | None]:
    """What makes one tree of the other."""
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


class Commits:
    """The commits of one repository, and the references on them. Commits never go; each call is atomic.

    Args:
        repository: its name; with a count it makes the commit ids, so that a run can be repeated.
    """

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._lock = threading.RLock()
        self._commits: dict[str, Commit] = {}
        self._branches: dict[str, str] = {}
        self._staged: dict[str, str] = {}

    # ---- commits

    def add(
        self, parent: str | None, tree: Tree, *, stamp: Stamp | None = None, author: str = "", subject: str = ""
    ) -> Commit:
        """Make a commit that no branch has yet."""
        with self._lock:
            name = f"{self._repository}\0{len(self._commits)}"
            commit_id = hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
            made = Commit(commit_id, parent, tree, stamp, author, subject)
            self._commits[commit_id] = made
            return made

    def find(self, commit_id: str) -> Commit | None:
        with self._lock:
            return self._commits.get(commit_id)

    def get(self, commit_id: str) -> Commit:
        """A commit by its full id.

        Raises:
            StoreError: it is not there.
        """
        found = self.find(commit_id)
        if found is None:
            raise StoreError(f"repository {self._repository!r} has no commit {commit_id}")
        return found

    def parent_tree(self, commit: Commit) -> Tree:
        """The first parent's tree; empty for a root."""
        return EMPTY if commit.parent is None else self.get(commit.parent).tree

    def first_parents(self, head: str) -> Iterator[Commit]:
        """Commits from a head down its first parents."""
        next_id: str | None = head
        while next_id is not None:
            commit = self.get(next_id)
            yield commit
            next_id = commit.parent

    # ---- branches

    def find_head(self, branch: str) -> str | None:
        with self._lock:
            return self._branches.get(branch)

    def head(self, branch: str) -> str:
        """Id of the commit that a branch points at.

        Raises:
            BranchNotFoundError: there is no such branch.
        """
        head = self.find_head(branch)
        if head is None:
            raise BranchNotFoundError(
                f"repository {self._repository!r} has no branch {branch!r}. Make it with a commit: "
                f"MemoryStore.commit({branch!r}, {{…}})"
            )
        return head

    def branches(self) -> list[str]:
        with self._lock:
            return sorted(self._branches)

    def commit_on(self, branch: str, overlay: Overlay, *, stamp: Stamp | None, author: str, subject: str) -> Commit:
        """Put a commit on a branch whatever its head is, as people do; the branch is made if there is none."""
        with self._lock:
            parent = self._branches.get(branch)
            tree = EMPTY if parent is None else self.get(parent).tree
            made = self.add(parent, put(tree, overlay), stamp=stamp, author=author, subject=subject)
            self._branches[branch] = made.id
            return made

    def swap(self, branch: str, commit: Commit) -> None:
        """Move a branch from the commit's first parent to the commit: exactly once, or not at all.

        A branch that has the commit already is left as it is.

        Raises:
            HeadMovedError: it stands elsewhere.
            BranchNotFoundError: there is no such branch.
        """
        with self._lock:
            head = self.head(branch)
            if head == commit.parent:
                self._branches[branch] = commit.id
            elif commit.id not in (entry.id for entry in self.first_parents(head)):
                raise HeadMovedError(
                    f"branch {branch!r} moved from {(commit.parent or '')[:12]} to {head[:12]}; nothing was published"
                )

    def reset(self, branch: str, commit_id: str) -> None:
        """Set a branch to a commit, wherever it stands."""
        with self._lock:
            self._branches[branch] = self.get(commit_id).id

    # ---- staging

    def keep_staged(self, name: str, commit_id: str) -> None:
        with self._lock:
            self._staged[name] = commit_id

    def drop_staged(self, name: str) -> None:
        with self._lock:
            self._staged.pop(name, None)

    def staged(self) -> list[str]:
        with self._lock:
            return sorted(self._staged)
