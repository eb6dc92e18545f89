"""How busy this machine is."""

from __future__ import annotations

import os


def slowness() -> float:
    """How many times as long as on a quiet machine something may take now: the load for each core, at least 1.

    A test that bounds a time multiplies its bound by this, so that it holds on a busy machine and stays strict on a
    quiet one.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
