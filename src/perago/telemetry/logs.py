"""Phases as log lines of the standard library's logging, logger `perago.attempt`.

A failure to clean is a warning, and so is what `warning_for` knows: nothing else will tell of them. Every
other event is a debug line; what failed the attempt stands in its result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from perago.ports import Event, Phase
from perago.values.redaction import text_of

_LOGGER = logging.getLogger("perago.attempt")


def warning_for(phase: str, attributes: Mapping[str, Any]) -> str | None:
    """What a phase's progress warns of, as a sentence: that a store does not guarantee all of what it has just
    published, or what `attempt.parse` knows. None: of nothing.
    """
    if phase == Phase.PUBLISH and "fence" in attributes:
        return f"{attributes['fence']}."
    shown = [str(name) for name in attributes.get("such_as", ())]
    if "left_out" in attributes:
        count, least = attributes["left_out"], bool(attributes.get("more"))
        why = "as the workspace's include leaves such paths out"
        return f"{_files(count, least=least)} not published that the body wrote, {why}: {_such_as(count, shown)}."
    if "not_published" in attributes:
        count = attributes["not_published"]
        return (
            f"{_files(count)} not published that the body changed, as the task is read_only: {_such_as(count, shown)}."
        )
    if "empty_prefix" in attributes:
        return f"no file lies below the workspace's prefix {attributes['empty_prefix']}."
    if "unmatched" in attributes:
        patterns = attributes["unmatched"]
        deeper = [f"**/{pattern}" for pattern in patterns if "/" not in pattern]
        hint = f"; {deeper[0]!r} matches in directories, too" if deeper else ""
        return f"no file matches the workspace's include {', '.join(map(repr, patterns))}{hint}."
    if "unknown_params" in attributes:
        more = attributes["unknown_params"] - len(shown)
        names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        there = ", ".join(map(str, attributes.get("known", ()))) or "none"
        return f"the task does not know the params {names}, and ignores them; it has {there}."
    return None


def _files(count: int, *, least: bool = False) -> str:
    if count == 1 and not least:
        return "a file is"
    return f"{'at least ' if least else ''}{count} files are"


def _such_as(count: int, shown: Sequence[str]) -> str:
    return ", ".join(shown) + (", …" if count > len(shown) else "")


def log_event(event: Event) -> None:
    """Write one event as a log line; the fields go with it as `extra`."""
    failed_to_clean = event.phase is Phase.CLEAN and event.kind == "failed"
    cautions = event.kind == "progress" and warning_for(event.phase, event.attributes) is not None
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
