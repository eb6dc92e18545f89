"""Phases as log lines of the standard library's logging, logger `perago.attempt`.

A failure to clean is a warning, and so is what a store does not guarantee of a publication: nothing else will tell of
them. Every other event is a debug line; what failed the attempt stands in its result.
"""

from __future__ import annotations

import logging

from perago.ports import Event, Phase
from perago.redaction import text_of

_LOGGER = logging.getLogger("perago.attempt")


def log_event(event: Event) -> None:
    """Write one event as a log line; the fields go with it as `extra`."""
    failed_to_clean = event.phase is Phase.CLEAN and event.kind == "failed"
    not_guaranteed = event.phase is Phase.PUBLISH and event.kind == "progress" and "fence" in event.attributes
    level = logging.WARNING if failed_to_clean or not_guaranteed else logging.DEBUG
    if not _LOGGER.isEnabledFor(level):
        return
    about = "; ".join(f"{name}={value}" for name, value in event.attributes.items())
    fault = f": {type(event.error).__name__}: {text_of(event.error)}" if event.error is not None else ""
    _LOGGER.log(
        level,
        "%s %s after %.3f s (task %s, execution %s)%s%s",
        event.phase,
        event.kind,
        event.seconds,
        event.task_id,
        event.execution_id,
        f" [{about}]" if about else "",
        fault,
        extra={
            "phase": str(event.phase),
            "kind": event.kind,
            "task_id": event.task_id,
            "execution_id": event.execution_id,
        },
    )
