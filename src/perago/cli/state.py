"""Where the records of `perago run` lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.cli.address import Address
    from perago.engines.local import LocalEngine


def state_directory() -> Path:
    """Perago's in the user's state directory, as the XDG specification has it."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path.home() / ".local" / "state"
    return state / "perago"


def git_runs_directory(repository: Path) -> Path:
    """Of the runs on a git repository: within it, so that they go where it goes."""
    return repository / "perago" / "runs"


def runs_directory(address: Address | None) -> Path:
    """Of the runs on a repository, or of free tasks.

    Raises:
        RuntimeConfigError: see `Address.runs_directory`.
    """
    return state_directory() / "runs" if address is None else address.runs_directory


def local_engine(address: Address | None) -> LocalEngine:
    """The engine with the records of a repository's runs, or of free tasks."""
    from perago.engines.local import LocalEngine

    return LocalEngine(runs_directory(address))
