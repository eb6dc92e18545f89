"""The `--repo` argument: the repository it names, and the directory of that repository's run records."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perago.errors import RuntimeConfigError
from perago.ports import BranchQueue, no_queue
from perago.settings.stores import SettingsHost, configured_store
from perago.settings.user_directories import find_state_directory
from perago.stores import table
from perago.stores.provider import RepositoryAddress
from perago.stores.table import provider_of
from perago.workspace.queue import host_queue

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


def runs_directory(address: RepositoryAddress | None) -> Path:
    """Run records of a repository; of free tasks if the address is None.

    Raises:
        RuntimeConfigError: see `RepositoryAddress.runs_place`, and `state_directory`.
    """
    place = Path("runs") if address is None else address.runs_place
    return place if place.is_absolute() else state_directory() / place


def local_engine(address: RepositoryAddress | None) -> LocalEngine:
    """Engine over the run records of a repository; of free tasks if the address is None.

    Raises:
        RuntimeConfigError: another user can change or replace the directory of the records; and as `runs_directory`.
    """
    from perago.engines.local import LocalEngine

    directory = runs_directory(address)
    SettingsHost().expect_irreplaceable(directory, "the directory of the run records")
    return LocalEngine(directory)


def queue_for(address: RepositoryAddress | None) -> BranchQueue:
    """The host's queue for a repository; none without one."""
    if address is None:
        return no_queue
    settings = address.settings
    place, is_server = provider_of(settings.kind).queue_key(settings)
    return host_queue(find_state_directory(), place, is_server=is_server)


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


def parse_address(argument: str) -> RepositoryAddress:
    """Parse a `--repo` argument.

    Raises:
        RuntimeConfigError: unknown scheme, or invalid name.
    """
    return table.parse_address(argument, SettingsHost())


def address_in_configured_store(repository: str) -> RepositoryAddress | None:
    """A repository of the store that the settings name; None if they name none."""
    from perago.settings import load_run_config

    store = configured_store(load_run_config("perago", probe_workspace_root=False))
    return None if store is None else provider_of(store.kind).parse(repository, SettingsHost())


def given_repository(repo: str | None) -> RepositoryAddress | None:
    """The repository that is named; it exists. None if none is named."""
    if repo is None:
        return None
    address = parse_address(repo)
    with address.open():  # raises if there is no repository
        return address


def branching_command(address: RepositoryAddress, branch: str, ref: str = "COMMIT") -> str:
    """The command that creates a branch."""
    return shlex.join(["perago", "branch", branch, "--from", ref, "--repo", address.argument])


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
    branching = branching_command(address, branch)
    raise BranchNotFoundError(
        f"repository {address.argument} has no branch {branch!r}; {there}. Create it from a directory with "
        f"`{importing}`, or from a commit with `{branching}`"
    )
