"""The directories that Perago writes to."""

from __future__ import annotations

import tempfile
from pathlib import Path


def resolve_root(cwd: Path, given: str) -> Path:
    """A directory as an absolute path; relative ones count from `cwd`, and `~` is the home directory.

    Raises:
        ValueError: it is the current directory or the root of the file system, which other things live in.
    """
    try:
        path = Path(given).expanduser()
    except RuntimeError as exc:
        raise ValueError(f"names no directory: {exc}") from None
    path = Path(cwd, path).absolute()
    if path.resolve() in (cwd.resolve(), Path(path.anchor)):
        raise ValueError(
            f"is {path}, {'the current directory' if path.resolve() == cwd.resolve() else 'the root directory'}; "
            f"give a directory of its own, into which nothing else writes"
        )
    return path


def probe_root(path: Path) -> None:
    """Make a directory, and see that files can be made in it.

    Raises:
        ValueError: they cannot; says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path, prefix=".perago-probe-"):
            pass
    except OSError as exc:
        raise ValueError(
            f"is {path}, which cannot be written: {exc.strerror}. Give a directory that this user may make files in"
        ) from None
