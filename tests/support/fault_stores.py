"""The stores that the sweeps run on, each with what a test has to do and to see there besides the ports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygit2

from perago.stores.git import GitStore
from perago.testing import ManualClock, MemoryStore
from perago.values.history import CommitFacts
from perago.values.models import StagedWorkspace, WorkspaceInput

Files = Mapping[str, str | None]
BRANCH = "main"
_GIT_FILE = 0o100644


class MemoryRepository:
    """A `MemoryStore`."""

    name = "memory"

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.store = MemoryStore()

    def commit(self, files: Files) -> str:
        """A person's commit."""
        return self.store.commit(BRANCH, dict(files), "Grace")

    def head(self) -> str:
        return self.store.head(BRANCH)

    def files(self, ref: str) -> dict[str, bytes]:
        return self.store.files(ref)

    def parent(self, ref: str) -> str:
        return next(iter(self.store.history(ref)[1:]), "")

    def input(self, ref: str) -> WorkspaceInput:
        return self.store.input(ref=ref)

    def line(self, root: str) -> tuple[CommitFacts, ...]:
        return self.store.read_history(self.input(root)).commits

    def clean(self) -> None:
        """There is no janitor: nothing of this store outlives its process."""
        for name in self.store.staged():
            self.store.cleanup_staging(StagedWorkspace(repository="", branch=name, commit=""))

    def left(self) -> list[str]:
        return self.store.staged()


class GitRepository:
    """A `GitStore`."""

    name = "git"

    def __init__(self, directory: Path, clock: ManualClock) -> None:
        self.store = GitStore.create(directory / "data.git", clock=clock)
        self._directory = directory
        self._clock = clock
        self._files: dict[str, dict[str, bytes]] = {}

    @property
    def _handle(self) -> pygit2.Repository:
        return pygit2.Repository(str(self._directory / "data.git"))

    def commit(self, files: Files) -> str:
        """A person's commit."""
        head = self.store.branch_head(BRANCH)
        index = pygit2.Index()
        if head is not None:
            index.read_tree(self._handle[head].tree)
        for path, text in files.items():
            if text is None:
                index.remove(path)
            else:
                index.add(pygit2.IndexEntry(path, self._handle.create_blob(text.encode()), _GIT_FILE))
        grace = pygit2.Signature("Grace", "grace@example.org")
        tree, parents = index.write_tree(self._handle), [head] if head else []
        made = self._handle.create_commit(f"refs/heads/{BRANCH}", grace, grace, "by hand", tree, parents)
        return str(made)

    def head(self) -> str:
        head = self.store.branch_head(BRANCH)
        assert head is not None
        return head

    def files(self, ref: str) -> dict[str, bytes]:
        if ref not in self._files:
            self._files[ref] = dict(_blobs(self._handle[ref].tree, ""))
        return self._files[ref]

    def parent(self, ref: str) -> str:
        return str(self._handle[ref].parent_ids[0])

    def input(self, ref: str) -> WorkspaceInput:
        return WorkspaceInput(repository="data", branch=BRANCH, refType="commit", ref=ref)

    def line(self, root: str) -> tuple[CommitFacts, ...]:
        return self.store.read_history(self.input(root)).commits

    def clean(self) -> None:
        """The store's janitor, for whom everything is old."""
        self._clock.advance(10_000)
        self.store.sweep(1_000)

    def left(self) -> list[str]:
        names = [name for name in self._handle.references if name.startswith("refs/perago")]
        return names + leftovers(self.store.path)


def leftovers(repository: Path) -> list[str]:
    """Temporary and lock files of a repository; the publishing lock's file is there to stay, empty."""
    publishing = repository / "perago" / "publish.lock"
    found = [
        str(path.relative_to(repository))
        for path in repository.rglob("*")
        if path.is_file()
        and path != publishing
        and (path.name.endswith(".lock") or "tmp" in path.name or path.parent.name == "tmp")
    ]
    if publishing.exists() and publishing.stat().st_size:
        found.append(f"{publishing.name} with a record in it")
    return found


def _blobs(tree: Any, root: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            found += _blobs(entry, f"{root}{entry.name}/")
        else:
            found.append((root + entry.name, entry.data))
    return found


Repository = MemoryRepository | GitRepository
STORES = {store.name: store for store in (MemoryRepository, GitRepository)}
