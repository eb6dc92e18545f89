"""The `--repo` argument: which repository of which store it names, and where the records of its runs lie."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from perago.errors import RuntimeConfigError
from perago.ports import Observer, ignore

if TYPE_CHECKING:
    from perago.engines.local import LocalEngine
    from perago.ports import Repository


def state_directory() -> Path:
    """Perago's directory for this user's state, in which the records lie.

    Raises:
        RuntimeConfigError: the user has no home directory.
    """
    from perago.settings.user_directories import user_state_directory

    try:
        return user_state_directory()
    except ValueError as exc:
        raise RuntimeConfigError(f"the directory of the runs' records {exc}") from None


def git_runs_directory(repository: Path) -> Path:
    """Of the runs on a git repository: within it, so that they go where it goes."""
    return repository / "perago" / "runs"


def runs_directory(address: RepositoryAddress | None) -> Path:
    """Of the runs on a repository, or of free tasks.

    Raises:
        RuntimeConfigError: see `RepositoryAddress.runs_directory`, and `state_directory`.
    """
    return state_directory() / "runs" if address is None else address.runs_directory


def local_engine(address: RepositoryAddress | None) -> LocalEngine:
    """The engine with the records of a repository's runs, or of free tasks."""
    from perago.engines.local import LocalEngine

    return LocalEngine(runs_directory(address))


class RepositoryAddress(Protocol):
    """What a `--repo` argument names. There may be nothing there."""

    @property
    def argument(self) -> str:
        """As `--repo` takes it."""
        ...

    @property
    def name(self) -> str:
        """What the repository is called in messages and stamps."""
        ...

    @property
    def runs_directory(self) -> Path:
        """Where the records of its runs lie on this host.

        Raises:
            RuntimeConfigError: the settings do not say which server it is on.
        """
        ...

    def open(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository.

        Args:
            merge_seconds: how long a server may take to publish; None: the store's own bound.

        Raises:
            RuntimeConfigError: the settings do not say how.
            RepositoryNotFoundError: nothing is there, or no repository.
            StoreError: the server cannot be reached, or refuses.
        """
        ...

    def create(
        self, branch: str, observer: Observer, *, storage_namespace: str | None
    ) -> AbstractContextManager[Repository]:
        """As `open`; if there is none, one is made, with this branch if the store makes one with it.

        Args:
            storage_namespace: where a lakeFS server is to keep the objects of a new repository.
        """
        ...

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        """Whether `create` would make the repository. Arguments, and errors, as there; nothing is made."""
        ...

    def check_source(self, directory: Path) -> None:
        """Refuse a directory that cannot be imported into this repository.

        Raises:
            UsageError
        """
        ...

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        """Refuse names that files cannot have in this repository, before one is made for them.

        Args:
            prefix: what all of them begin with, as it was given; it may look like a drive.

        Raises:
            ObjectNameError
        """
        ...

    def branch_from_commit(self, branch: str, commit: str = "COMMIT") -> str:
        """The command that makes a branch from a commit."""
        ...


DEFAULT_BRANCH = "main"

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")

repo_option = click.option(
    "--repo",
    metavar="REPO",
    required=True,
    help="The repository: lakefs://NAME, or the path of a bare git repository.",
)
branch_option = click.option("--branch", metavar="NAME", default=DEFAULT_BRANCH, show_default=True, help="The branch.")


def parse_address(argument: str) -> RepositoryAddress:
    """What a `--repo` argument names.

    Raises:
        RuntimeConfigError: a kind of repository that there is none of, or no name for one.
    """
    match = _SCHEME.match(argument)
    if match is None:
        from perago.cli.repos.git import GitAddress

        return GitAddress(Path(argument).expanduser().absolute())
    if match["scheme"].lower() == "lakefs":
        from perago.cli.repos.lakefs import LakeFSAddress

        return LakeFSAddress.parse(argument[match.end() :])
    raise RuntimeConfigError(
        f"--repo takes lakefs://NAME or the path of a bare git repository, no {match['scheme']}:// address; clone it "
        f"first, with `git clone --bare`"
    )


def head_of(repository: Repository, branch: str, address: RepositoryAddress) -> str:
    """Full id of the commit that a branch points at.

    Raises:
        BranchNotFoundError: there is no such branch; says which there are, and how to make one.
    """
    from perago.errors import BranchNotFoundError

    head = repository.branch_head(branch)
    if head is not None:
        return head
    branches = repository.branches()
    there = f"it has {', '.join(map(repr, branches))}" if branches else "it has none yet"
    importing = shlex.join(["perago", "import", "DIR", "--repo", address.argument, "--branch", branch])
    raise BranchNotFoundError(
        f"repository {address.argument} has no branch {branch!r}; {there}. Make it from a directory with "
        f"`{importing}`, or from a commit with `{address.branch_from_commit(branch)}`"
    )
