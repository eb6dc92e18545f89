"""Directories of a user by the XDG Base Directory Specification, on macOS too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def user_state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_STATE_HOME/perago`, by default `~/.local/state/perago`: workspaces, logs, records of runs.

    Raises:
        ValueError: the user has no home directory.
    """
    return _base(environment, "XDG_STATE_HOME", ".local/state") / "perago"


def find_state_directory() -> Path | None:
    """As `user_state_directory`; None if the user has no home directory."""
    try:
        return user_state_directory()
    except ValueError:
        return None


def user_cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`$XDG_CACHE_HOME/perago`, by default `~/.cache/perago`: files that can be fetched again.

    Raises:
        ValueError: the user has no home directory.
    """
    return _base(environment, "XDG_CACHE_HOME", ".cache") / "perago"


def _base(environment: Mapping[str, str], variable: str, below_home: str) -> Path:
    given = Path(environment.get(variable, ""))
    if given.is_absolute():  # the specification ignores relative ones
        return given
    home = environment.get("HOME")
    try:
        return Path(home or Path.home()) / below_home
    except RuntimeError:
        raise ValueError(
            f"belongs in the home directory, but this user has none; set {variable} to a directory of this user"
        ) from None
