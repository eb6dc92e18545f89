"""The directories that Perago writes to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from perago.errors import RuntimeConfigError
from perago.files.private_directory import fault_above, fault_of, make_directory
from perago.settings.config import RuntimeConfig


def resolve_root(cwd: Path, given: str) -> Path:
    """A directory as an absolute path. Relative ones start from `cwd`, and `~` is the home directory.

    Raises:
        ValueError: it is the current directory or the root of the file system, which hold other files.
    """
    try:
        path = Path(given).expanduser()
    except RuntimeError as exc:
        raise ValueError(f"is not a directory path: {exc}") from None
    path = Path(cwd, path).absolute()
    if path.resolve() in (cwd.resolve(), Path(path.anchor)):
        raise ValueError(
            f"is {path}, {'the current directory' if path.resolve() == cwd.resolve() else 'the root directory'}; "
            f"give a directory that nothing else writes to"
        )
    return path


def check_root(path: Path, *, parents_are_trusted: bool) -> None:
    """Check that no other user can change or replace a directory. It need not exist.

    Raises:
        ValueError: another user can; says who, and what to do.
    """
    try:
        fault = fault_of(path) if os.path.lexists(path) else None
        if fault is None and not parents_are_trusted:
            fault = fault_above(path)
    except OSError as exc:
        raise _unusable(path, exc) from None
    if fault is not None:
        raise ValueError(f"is {path}, which {fault}")


def check_cache(config: RuntimeConfig) -> None:
    """Check that no other user can replace the cache directory. The cache itself checks the directory.

    Raises:
        RuntimeConfigError: another user can; says who, and what to do.
    """
    if config.cache_max_size == 0 or config.root_parents == "trusted":
        return
    try:
        fault = fault_above(config.cache_dir / "objects")
    except OSError as exc:
        fault = f"cannot be checked: {exc.strerror}"
    if fault is not None:
        raise RuntimeConfigError(
            f"PERAGO_CACHE_DIR is {config.cache_dir}, whose content {fault}. PERAGO_CACHE_MAX_SIZE=0 turns it off"
        )


def probe_root(path: Path, *, parents_are_trusted: bool) -> None:
    """Create a directory for this user alone, and check that files can be created in it.

    Raises:
        ValueError: they cannot, or another user could change them; with the reason.
    """
    try:
        make_directory(path)
        check_root(path, parents_are_trusted=parents_are_trusted)
        with tempfile.TemporaryFile(dir=path, prefix=".perago-probe-"):
            pass
    except OSError as exc:
        raise _unusable(path, exc) from None


def _unusable(path: Path, exc: OSError) -> ValueError:
    return ValueError(
        f"is {path}, which cannot be written: {exc.strerror}. Give a directory in which this user may create files"
    )
