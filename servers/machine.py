"""How busy this machine is."""

from __future__ import annotations

import os
import time


def slowness() -> float:
    """Factor by which this machine is slower than a quiet one: the load per core, at least 1.

    A test multiplies its time limits by this, so that they hold on a busy machine and stay strict on a quiet one.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


LOOK_SECONDS, MOST_LOOK_SECONDS = 0.01, 0.1


def pause(began: float) -> None:
    """Sleep until the next look at what is waited for since `began`, of the monotonic clock: 10 ms, and later a tenth
    of the time since, up to 0.1 s. Hundreds of looks a second would cost servers as much as all their work.
    """
    time.sleep(min(max(LOOK_SECONDS, (time.monotonic() - began) / 10), MOST_LOOK_SECONDS))
