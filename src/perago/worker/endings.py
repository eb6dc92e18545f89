"""How an attempt under way is ended: told, then sent SIGTERM, then SIGKILL. Pure functions of time."""

from __future__ import annotations

import enum

from perago.ports import Phase


class Cause(enum.StrEnum):
    """Why an attempt is to end before it is done."""

    CANCELLED = "cancelled"  # the execution is no longer the engine's current one: nothing is reported
    SHUTDOWN = "shutdown"  # the worker's time is over: the task is given back
    AT_ONCE = "at once"  # the same, without any patience


class Step(enum.IntEnum):
    """What is done to the attempt, each step after the one before."""

    NONE = 0
    TELL = 1  # TaskContext.cancelled
    TERMINATE = 2  # SIGTERM to the executor's process group: KeyboardInterrupt in the body
    KILL = 3  # SIGKILL to it


CANCEL_GRACE_SECONDS = 3.0
"""How long a cancelled body may take to end once told, and again once it has been sent SIGTERM. With a look every
`cancellation.CHECK_SECONDS` (2 s) and the time that killing takes, a body is dead within 10 s of its cancellation."""

PUBLISHING_GRACE_SECONDS = 30.0
"""The same while a store is at work after the body: the fence ends that by itself, and cutting it off leaves more to
clean."""

SHUTDOWN_GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL when the worker's own time is over."""

_PUBLISHING = frozenset({Phase.DIFF, Phase.STAGE, Phase.FENCE, Phase.PUBLISH, Phase.CLEAN})


def due_steps(cause: Cause, phase: str) -> tuple[tuple[float, Step], ...]:
    """The steps, and how many seconds after the decision each is due.

    Args:
        phase: that the attempt is in.
    """
    match cause:
        case Cause.CANCELLED:
            grace = PUBLISHING_GRACE_SECONDS if phase in _PUBLISHING else CANCEL_GRACE_SECONDS
            return ((0.0, Step.TELL), (grace, Step.TERMINATE), (2 * grace, Step.KILL))
        case Cause.SHUTDOWN:
            return ((0.0, Step.TELL), (0.0, Step.TERMINATE), (SHUTDOWN_GRACE_SECONDS, Step.KILL))
        case Cause.AT_ONCE:
            return ((0.0, Step.KILL),)


def next_step(cause: Cause, phase: str, taken: Step, elapsed: float) -> tuple[Step, float | None]:
    """The step to take now, and the seconds until the one after it.

    Args:
        taken: the last step that was taken.
        elapsed: seconds since the decision.

    Returns:
        `Step.NONE` where none is due; None where none is left.
    """
    left = [(due, step) for due, step in due_steps(cause, phase) if step > taken]
    if not left:
        return Step.NONE, None
    due, step = left[0]
    if elapsed < due:
        return Step.NONE, due - elapsed
    return step, max(0.0, left[1][0] - elapsed) if len(left) > 1 else None
