"""How busy this machine is."""

from __future__ import annotations

import os


def slowness() -> float:
    """Factor by which this machine is slower than a quiet one: the load per core, at least 1.

    A test multiplies its time limits by this, so that they hold on a busy machine and stay strict on a quiet one.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
