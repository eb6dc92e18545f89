"""`--repo PATH`: a git repository on a local disk."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from perago.files.private_directory import fault_of
from perago.ports import BranchQueue, Observer, Repository, ignore
from perago.running.repos.address import expect_irreplaceable, git_runs_directory, state_directory
from perago.settings.user_directories import find_state_directory
from perago.workspace.queue import host_queue

_HASH_DIGITS = 12


@dataclass(frozen=True)
class GitAddress:
    """See `address.RepositoryAddress`. The path is absolute."""

    path: Path

    @property
    def argument(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)

    @property
    def runs_directory(self) -> Path:
        """In the repository; with the user if others can write to it, because records are of one user."""
        places = (self.path, self.path / "perago")
        if any(place.is_dir() and fault_of(place) is not None for place in places):
            return state_directory() / "git" / _directory_name(self.path) / "runs"
        return git_runs_directory(self.path)

    @property
    def queue(self) -> BranchQueue:
        return host_queue(find_state_directory(), str(self.path), is_server=False)

    @contextmanager
    def open(self, observer: Observer = ignore, *, merge_seconds: float | None = None) -> Iterator[Repository]:  # noqa: ARG002 - moving a reference takes no time
        from perago.stores.git import GitStore

        self._expect_irreplaceable()
        store = GitStore(self.path, observer=observer)
        store.branches()  # raises if it is damaged
        yield store

    @contextmanager
    def create(self, branch: str, observer: Observer, *, storage_namespace: str | None) -> Iterator[Repository]:
        from perago.stores.git import GitStore

        _refuse_namespace(storage_namespace)
        self._expect_irreplaceable()
        yield GitStore.create(self.path, branch=branch, observer=observer)

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        from perago.stores.git.import_export import check_branch_name, is_free

        _refuse_namespace(storage_namespace)
        check_branch_name(branch)
        return is_free(self.path)

    def check_source(self, directory: Path) -> None:
        if self.path.resolve().is_relative_to(directory.resolve()):
            raise click.UsageError(
                f"the repository {self.path} is inside {directory}, the directory to import; move it out, or import "
                f"another directory"
            )

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        from perago.values.names import FOR_IMPORT, check_git_name

        for name in names:
            check_git_name(name, FOR_IMPORT, prefix=prefix)

    def branch_from_commit(self, branch: str, commit: str = "COMMIT") -> str:
        return shlex.join(["git", "-C", str(self.path), "branch", branch, commit])

    def _expect_irreplaceable(self) -> None:
        """Refuse a repository that another user could replace, unless git is told that it is safe."""
        from perago.stores.git.trust import is_trusted, or_trust

        if not is_trusted(self.path):
            expect_irreplaceable(self.path, "the repository", f". {or_trust(self.path)}")


def _directory_name(repository: Path) -> str:
    """Readable directory name for the run records of a repository, unique for its path."""
    real = os.path.realpath(repository)
    return f"{repository.name}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:_HASH_DIGITS]}"


def _refuse_namespace(storage_namespace: str | None) -> None:
    if storage_namespace is not None:
        raise click.UsageError("--storage-namespace is for lakeFS repositories only; leave it out")
