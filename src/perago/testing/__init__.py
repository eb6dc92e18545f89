"""Tools to test tasks, stores and engines.

The public names are imported on first use, because pytest imports this package, with the plugin, in every run of
everyone who has Perago installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perago.testing.attempts import FinishedAttempt
    from perago.testing.body import BodyRun, Metric, Progress, run_body
    from perago.testing.clock import ManualClock
    from perago.testing.declared import FinishedWorkflow
    from perago.testing.engine import MemoryAttempt, MemoryEngine
    from perago.testing.kit import MemoryWorkflow
    from perago.testing.store import MemoryStore

_HOMES = {
    "BodyRun": "body",
    "FinishedAttempt": "attempts",
    "FinishedWorkflow": "declared",
    "ManualClock": "clock",
    "MemoryAttempt": "engine",
    "MemoryEngine": "engine",
    "MemoryStore": "store",
    "MemoryWorkflow": "kit",
    "Metric": "body",
    "Progress": "body",
    "run_body": "body",
}

__all__ = [
    "BodyRun",
    "FinishedAttempt",
    "FinishedWorkflow",
    "ManualClock",
    "MemoryAttempt",
    "MemoryEngine",
    "MemoryStore",
    "MemoryWorkflow",
    "Metric",
    "Progress",
    "run_body",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
