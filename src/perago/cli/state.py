"""Where the records of `perago run` lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.engines.local import LocalEngine


def runs_directory(repository: Path | None) -> Path:
    """Within the repository; for free tasks in the user's state directory, as the XDG specification has it."""
    if repository is not None:
        return repository / "perago" / "runs"
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    state = given if given.is_absolute() else Path.home() / ".local" / "state"
    return state / "perago" / "runs"


def local_engine(repository: Path | None) -> LocalEngine:
    """The engine with the records of a repository's runs, or of free tasks."""
    from perago.engines.local import LocalEngine

    return LocalEngine(runs_directory(repository))
