"""Short paths to directories whose own are long, by links below the directory of temporary files."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir

from perago.files.private_directory import fault_of_source, make_directory

_OLD_SECONDS = 24 * 3600.0
"""Age from which a link that leads nowhere is removed."""


def short_path_to(directory: str, stack: ExitStack) -> str:
    """A short path that leads to a directory; the path itself where none can be made.

    The path of a Unix socket has at most 107 bytes. Pools of processes make theirs among the temporary files, and an
    attempt's directory alone takes most of them.
    """
    links = Path(gettempdir(), f"perago-{os.getuid()}")
    link = links / token_hex(4)
    try:
        make_directory(links)
        if fault_of_source(links, os.environ) is not None:  # it may itself be a link of somebody else's
            return directory
        _sweep(links)
        link.symlink_to(directory)
    except OSError:
        return directory
    stack.callback(link.unlink, missing_ok=True)
    return str(link)


def _sweep(links: Path) -> None:
    """Remove old links that lead nowhere: of processes that were killed. A container that shares this directory may not
    see where the links of another one lead, so that young ones stay.
    """
    for left in links.iterdir():
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > _OLD_SECONDS and not left.exists():
                left.unlink()
