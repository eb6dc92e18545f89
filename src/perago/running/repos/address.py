"""The `--repo` argument: the repository it names, and the directory of that repository's run records."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perago.errors import RuntimeConfigError
from perago.ports import BranchQueue, Observer, ignore, no_queue

if TYPE_CHECKING:
    from perago.engines.local import LocalEngine
    from perago.ports import Repository


def state_directory() -> Path:
    """Perago's state directory of this user, which holds the run records.

    Raises:
        RuntimeConfigError: the user has no home directory.
    """
    from perago.settings.user_directories import user_state_directory

    try:
        return user_state_directory()
    except ValueError as exc:
        raise RuntimeConfigError(f"the directory of the run records {exc}") from None


def git_runs_directory(repository: Path) -> Path:
    """Run records of a git repository. They are inside it, so that they move with it."""
    return repository / "perago" / "runs"


def runs_directory(address: RepositoryAddress | None) -> Path:
    """Run records of a repository; of free tasks if the address is None.

    Raises:
        RuntimeConfigError: see `RepositoryAddress.runs_directory`, and `state_directory`.
    """
    return state_directory() / "runs" if address is None else address.runs_directory


def local_engine(address: RepositoryAddress | None) -> LocalEngine:
    """Engine over the run records of a repository; of free tasks if the address is None.

    Raises:
        RuntimeConfigError: another user can change or replace the directory of the records; and as `runs_directory`.
    """
    from perago.engines.local import LocalEngine

    directory = runs_directory(address)
    expect_irreplaceable(directory, "the directory of the run records")
    return LocalEngine(directory)


def expect_irreplaceable(path: Path, what: str, or_else: str = "") -> None:
    """Refuse a directory that another user could replace, unless `PERAGO_ROOT_PARENTS` trusts them. It need not exist.

    Args:
        what: its role, for the message.
        or_else: another way out, as the end of the message.

    Raises:
        RuntimeConfigError: the message says who could, and what to do.
    """
    from perago.files.private_directory import fault_above
    from perago.settings import load_run_config

    try:
        fault = fault_above(path)
    except OSError as exc:
        raise RuntimeConfigError(f"{what} {path} cannot be checked: {exc.strerror}") from exc
    if fault is None or load_run_config("perago", probe_workspace_root=False).root_parents == "trusted":
        return
    raise RuntimeConfigError(f"{what} {path} {fault}{or_else}")


def queue_for(address: RepositoryAddress | None) -> BranchQueue:
    """The host's queue for a repository; none without one."""
    return no_queue if address is None else address.queue


class RepositoryAddress(Protocol):
    """A parsed `--repo` argument. The repository need not exist."""

    @property
    def argument(self) -> str:
        """The text that `--repo` accepts."""
        ...

    @property
    def name(self) -> str:
        """Name of the repository in messages and stamps."""
        ...

    @property
    def runs_directory(self) -> Path:
        """Directory of its run records on this host.

        Raises:
            RuntimeConfigError: no server is configured.
        """
        ...

    @property
    def queue(self) -> BranchQueue:
        """Where attempts of this host wait for others that write the same branch."""
        ...

    def open(
        self, observer: Observer = ignore, *, merge_seconds: float | None = None
    ) -> AbstractContextManager[Repository]:
        """Open the repository.

        Args:
            merge_seconds: time limit for the server to publish. Default: the store's own.

        Raises:
            RuntimeConfigError: no server is configured.
            RepositoryNotFoundError: there is no repository.
            StoreError: the server cannot be reached, or refused.
        """
        ...

    def create(
        self, branch: str, observer: Observer, *, storage_namespace: str | None
    ) -> AbstractContextManager[Repository]:
        """Open the repository; create it first if it does not exist, with this branch if the store can.

        Args:
            storage_namespace: where a lakeFS server keeps the objects of a new repository.
        """
        ...

    def is_to_be_made(self, branch: str, *, storage_namespace: str | None) -> bool:
        """Whether `create` would create the repository. Takes its arguments and raises its errors."""
        ...

    def check_source(self, directory: Path) -> None:
        """Refuse a directory that cannot be imported into this repository.

        Raises:
            UsageError
        """
        ...

    def check_names(self, names: Iterable[str], *, prefix: str) -> None:
        """Refuse names that files cannot have in this repository.

        Args:
            prefix: their common prefix, as given; it may look like a drive.

        Raises:
            ObjectNameError
        """
        ...

    def branch_from_commit(self, branch: str, commit: str = "COMMIT") -> str:
        """The command that creates a branch from a commit."""
        ...


DEFAULT_BRANCH = "main"
"""The branch to read if neither an argument nor a setting names one."""


def configured_text(argument: str, variable: str, tell: Callable[[str], None]) -> str | None:
    """What the settings give for an argument that was left out; None if they give nothing.

    Args:
        argument: as it is written before its value: `--repo ` or `repo=`.
        tell: is told what was taken.
    """
    from perago.settings import configured

    found = configured(variable)
    if found is None:
        return None
    value, origin = found
    tell(f"{argument}{value} ({variable}, {origin})")
    return value


_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")


def parse_address(argument: str) -> RepositoryAddress:
    """Parse a `--repo` argument.

    Raises:
        RuntimeConfigError: unknown scheme, or invalid name.
    """
    match = _SCHEME.match(argument)
    if match is None:
        from perago.running.repos.git import GitAddress

        return GitAddress(Path(argument).expanduser().absolute())
    if match["scheme"].lower() == "lakefs":
        from perago.running.repos.lakefs import LakeFSAddress

        return LakeFSAddress.parse(argument[match.end() :])
    raise RuntimeConfigError(
        f"--repo takes lakefs://NAME or the path of a bare git repository, not {match['scheme']}://. Clone a remote "
        f"repository first, with `git clone --bare`"
    )


def given_repository(repo: str | None) -> RepositoryAddress | None:
    """The repository that is named; it exists. None if none is named."""
    if repo is None:
        return None
    address = parse_address(repo)
    with address.open():  # raises if there is no repository
        return address


def head_of(repository: Repository, branch: str, address: RepositoryAddress) -> str:
    """Full id of the commit that a branch points at.

    Raises:
        BranchNotFoundError: there is no such branch. The message lists the branches and says how to create one.
    """
    from perago.errors import BranchNotFoundError

    head = repository.branch_head(branch)
    if head is not None:
        return head
    branches = repository.branches()
    there = f"it has {', '.join(map(repr, branches))}" if branches else "it has none yet"
    importing = shlex.join(["perago", "import", "DIR", "--repo", address.argument, "--branch", branch])
    raise BranchNotFoundError(
        f"repository {address.argument} has no branch {branch!r}; {there}. Create it from a directory with "
        f"`{importing}`, or from a commit with `{address.branch_from_commit(branch)}`"
    )
