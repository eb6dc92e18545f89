"""Looking now and then whether what a worker needs is there, so that nobody who asks for its health has to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from perago.redaction import text_of
from perago.worker.health import PROBE_SECONDS, Probed

Look = Callable[[], str]
"""Looks once, within seconds; says what it found. What it raises says what is wrong."""

MAX_DETAIL_LENGTH = 500


class Probes:
    """One round each `PROBE_SECONDS`; see `loops.Loop`.

    Args:
        looks: by name.
    """

    def __init__(self, looks: Mapping[str, Look]) -> None:
        self._looks = looks
        self._found: dict[str, tuple[bool, str, float]] = {}

    def turn(self) -> float | None:
        """Look at everything once; returns the seconds until the next round. None: there is nothing to look at."""
        for name, look in self._looks.items():
            self._found[name] = (*self._outcome(look), time.monotonic())
        return PROBE_SECONDS if self._looks else None

    def found(self) -> dict[str, Probed]:
        """What the last round found."""
        now = time.monotonic()
        return {
            name: Probed(found[0], found[1], now - found[2])
            if (found := self._found.get(name)) is not None
            else Probed(ok=False, detail="")
            for name in self._looks
        }

    @staticmethod
    def _outcome(look: Look) -> tuple[bool, str]:
        try:
            return True, look()
        except Exception as exc:  # noqa: BLE001 - whatever is wrong is what the probe is to find
            return False, (text_of(exc) or type(exc).__name__)[:MAX_DETAIL_LENGTH]
