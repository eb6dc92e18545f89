"""How much memory this process has at present."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def memory_bytes() -> int:
    """Resident bytes."""
    if sys.platform == "linux":
        _, resident, *_ = Path("/proc/self/statm").read_bytes().split()
        return int(resident) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    size: int = psutil.Process().memory_info().rss
    return size
