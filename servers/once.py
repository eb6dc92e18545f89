"""A cache for things that take minutes to make: one process makes them while others wait."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def cache_directory() -> Path:
    """The cache directory, by XDG_CACHE_HOME or its default. It need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "perago" / "servers"


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Lock out other processes. The lock ends with this process."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
