"""Commits, branches and staging references of the in-memory store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from perago.errors import BranchNotFoundError, HeadMovedError, StoreError
from perago.ports import commit_time
from perago.values.history import Stamp


class Blob(NamedTuple):
    """A file of a commit."""

    content: bytes
    executable: bool = False


Tree = Mapping[str, Blob]
"""Object name -> file. Any name is accepted, as in a real store."""

Overlay = Mapping[str, Blob | None]
"""Object name -> new file; None deletes it."""

EMPTY: Tree = MappingProxyType({})


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        id: 40 hex digits.
        parent: id of the first parent; None for a root.
        merged: id of the second parent, in a person's merge; None in any other commit.
        number: of commits made before it.
    """

    id: str
    parent: str | None
    tree: Tree = field(repr=False)
    stamp: Stamp | None = None
    author: str = ""
    subject: str = ""
    merged: str | None = None
    number: int = 0

    @property
    def parents(self) -> tuple[str, ...]:
        """Ids of all parents."""
        return tuple(commit_id for commit_id in (self.parent, self.merged) if commit_id is not None)


def put(tree: Tree, overlay: Overlay) -> Tree:
    """The tree with the overlay applied."""
    merged: dict[str, Blob | None] = {**tree, **overlay}
    return MappingProxyType({path: blob for path, blob in sorted(merged.items()) if blob is not None})


def changed(before: Tree, after: Tree) -> dict[str, Blob | None]:
    """The overlay that turns one tree into the other."""
    return {path: after.get(path) for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


class Commits:
    """The commits of one repository, and references to them. Commits are never removed; each call is atomic.

    Args:
        repository: its name. Commit ids are made of it and a counter, so that a run is reproducible.
    """

    def __init__(self, repository: str) -> None:
        self._repository = repository
        self._lock = threading.RLock()
        self._commits: dict[str, Commit] = {}
        self._branches: dict[str, str] = {}
        self._staged: dict[str, str] = {}

    # ---- commits

    def add(
        self,
        parent: str | None,
        tree: Tree,
        *,
        stamp: Stamp | None = None,
        author: str = "",
        subject: str = "",
        merged: str | None = None,
    ) -> Commit:
        """Create a commit on no branch."""
        with self._lock:
            number = len(self._commits)
            name = f"{self._repository}\0{number}"
            commit_id = hashlib.sha1(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()
            made = Commit(commit_id, parent, tree, stamp, author, subject, merged, number)
            self._commits[commit_id] = made
            return made

    def find(self, commit_id: str) -> Commit | None:
        with self._lock:
            return self._commits.get(commit_id)

    def get(self, commit_id: str) -> Commit:
        """A commit by its full id.

        Raises:
            StoreError: it does not exist.
        """
        found = self.find(commit_id)
        if found is None:
            raise StoreError(f"repository {self._repository!r} has no commit {commit_id}")
        return found

    def parent_tree(self, commit: Commit) -> Tree:
        """The first parent's tree; empty for a root."""
        return EMPTY if commit.parent is None else self.get(commit.parent).tree

    def first_parents(self, head: str) -> Iterator[Commit]:
        """The first-parent commits from a head to the root."""
        next_id: str | None = head
        while next_id is not None:
            commit = self.get(next_id)
            yield commit
            next_id = commit.parent

    def unknown(self, known: Callable[[str], bool]) -> Iterator[Commit]:
        """The commits of all branches by all parents, without known ones and what comes before those."""
        with self._lock:
            waiting = list(self._branches.values())
        seen: set[str] = set()
        while waiting:
            commit_id = waiting.pop()
            if commit_id not in seen and not known(commit_id):
                yield (commit := self.get(commit_id))
                waiting += commit.parents
            seen.add(commit_id)

    def time_of(self, commit: Commit) -> datetime:
        """The time of a commit: a second after the one before, from 1970 on, so that a run is reproducible."""
        return commit_time(commit.number)

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
                f"repository {self._repository!r} has no branch {branch!r}. Create it with a commit: "
                f"MemoryStore.commit({branch!r}, {{…}})"
            )
        return head

    def branches(self) -> list[str]:
        with self._lock:
            return sorted(self._branches)

    def create(self, branch: str, commit_id: str) -> str:
        """Create a branch at a commit, unless it exists; returns its head."""
        with self._lock:
            return self._branches.setdefault(branch, commit_id)

    def commit_on(
        self,
        branch: str,
        overlay: Overlay,
        *,
        stamp: Stamp | None,
        author: str,
        subject: str,
        merged: str | None = None,
    ) -> Commit:
        """Commit on a branch, whatever its head is, as people do. Creates the branch if there is none."""
        with self._lock:
            parent = self._branches.get(branch)
            tree = EMPTY if parent is None else self.get(parent).tree
            made = self.add(parent, put(tree, overlay), stamp=stamp, author=author, subject=subject, merged=merged)
            self._branches[branch] = made.id
            return made

    def swap(self, branch: str, commit: Commit) -> None:
        """Move a branch from the commit's first parent to the commit: exactly once, or not at all.

        A branch that already has the commit is unchanged.

        Raises:
            HeadMovedError: its head is another commit.
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

    def delete(self, branch: str) -> None:
        """Delete a branch; its commits stay."""
        with self._lock:
            self.head(branch)
            del self._branches[branch]

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
