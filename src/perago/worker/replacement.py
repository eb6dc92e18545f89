"""When an executor is replaced: at once, after a pause, or not yet. Pure functions."""

from __future__ import annotations

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Before the replacement of an executor that died, by how many died in a row; part of the published contract."""

STEADY_SECONDS = 60.0
"""An executor that lived so long, or ended an attempt, did not die of starting: the row begins anew."""


def pause_before(deaths: int) -> float:
    """Seconds until the next executor is started.

    Args:
        deaths: in a row; 0: the one before did not die.
    """
    return 0.0 if deaths <= 0 else PAUSES_SECONDS[min(deaths, len(PAUSES_SECONDS)) - 1]


def deaths_after(deaths: int, *, attempts: int, lived_seconds: float) -> int:
    """How many executors have died in a row, now that another has.

    Args:
        deaths: before it.
        attempts: that it ended by itself.
        lived_seconds: from its being ready.
    """
    return 1 if attempts > 0 or lived_seconds >= STEADY_SECONDS else deaths + 1


def is_worn_out(
    *,
    attempts: int,
    memory_bytes: int,
    is_spent: bool,
    max_attempts: int | None,
    max_memory_bytes: int | None,
) -> bool:
    """Whether an executor is replaced although it is well.

    Args:
        attempts: that it has run.
        memory_bytes: that its process has now.
        is_spent: a body left what cannot be put back.
        max_attempts, max_memory_bytes: None: no bound.
    """
    return (
        is_spent
        or (max_attempts is not None and attempts >= max_attempts)
        or (max_memory_bytes is not None and memory_bytes >= max_memory_bytes)
    )
