"""Phases as log lines of the standard library's logging, logger `perago.attempt`.

A failure to clean is a warning, and so is what `caution_of` knows: nothing else will tell of them. Every
other event is a debug line; what failed the attempt stands in its result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from perago.ports import Event, Phase
from perago.redaction import text_of

_LOGGER = logging.getLogger("perago.attempt")


def caution_of(phase: str, attributes: Mapping[str, Any]) -> str | None:
    """What a phase's progress warns of, as a sentence: that a store does not guarantee all of what it has just
    published, or that files which the body wrote are left out. None: of nothing.
    """
    if phase == Phase.PUBLISH and "fence" in attributes:
        return f"{attributes['fence']}."
    if phase == Phase.DIFF and "left_out" in attributes:
        count = attributes["left_out"]
        least = "at least " if attributes.get("more") else ""
        files = "a file is" if count == 1 and not least else f"{least}{count} files are"
        return (
            f"{files} not published that the body wrote, as the workspace's include leaves such paths out: "
            f"{', '.join(attributes.get('such_as', ()))}{', …' if count > len(attributes.get('such_as', ())) else ''}."
        )
    return None


def log_event(event: Event) -> None:
    """Write one event as a log line; the fields go with it as `extra`."""
    failed_to_clean = event.phase is Phase.CLEAN and event.kind == "failed"
    cautions = event.kind == "progress" and caution_of(event.phase, event.attributes) is not None
    level = logging.WARNING if failed_to_clean or cautions else logging.DEBUG
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
