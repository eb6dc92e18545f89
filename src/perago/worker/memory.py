"""How much memory this process has at present."""

from __future__ import annotations

import os
import sys


def memory_bytes() -> int:
    """Resident bytes."""
    if sys.platform == "linux":
        handle = os.open("/proc/self/statm", os.O_RDONLY)
        try:
            _, resident, *_ = os.read(handle, 256).split()
        finally:
            os.close(handle)
        return int(resident) * os.sysconf("SC_PAGE_SIZE")
    import psutil

    size: int = psutil.Process().memory_info().rss
    return size
