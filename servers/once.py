"""What costs minutes and is kept is made by one process, while others wait."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_directory() -> Path:
    """Where it is kept, by the user's own setting or in the usual place; may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "perago" / "servers"


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Others wait until it is made; the lock goes with the process."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
