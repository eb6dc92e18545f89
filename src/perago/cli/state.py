"""Where the records of `perago run` lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perago.errors import RuntimeConfigError

if TYPE_CHECKING:
    from perago.cli.address import Address
    from perago.engines.local import LocalEngine


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


def runs_directory(address: Address | None) -> Path:
    """Of the runs on a repository, or of free tasks.

    Raises:
        RuntimeConfigError: see `Address.runs_directory`, and `state_directory`.
    """
    return state_directory() / "runs" if address is None else address.runs_directory


def local_engine(address: Address | None) -> LocalEngine:
    """The engine with the records of a repository's runs, or of free tasks."""
    from perago.engines.local import LocalEngine

    return LocalEngine(runs_directory(address))
