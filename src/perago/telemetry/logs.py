"""Phases as log lines of the standard library's logging, logger `perago.attempt`.

A failed cleanup and the warnings of `warning_for` are logged as warnings, because nothing else reports them. All other
events are debug lines. An error that fails the attempt is in its result.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from perago.ports import PHASES, Event, Phase
from perago.values.redaction import text_of

_LOGGER = logging.getLogger("perago.attempt")


def warning_for(phase: str, attributes: Mapping[str, Any]) -> str | None:
    """The warning in a phase's progress, as a sentence: a store does not guarantee everything about a publication, or
    `attempt.parse` found something. None if there is none.
    """
    if phase == Phase.PUBLISH and "fence" in attributes:
        return f"{attributes['fence']}."
    shown = [str(name) for name in attributes.get("such_as", ())]
    if "left_out" in attributes:
        count, least = attributes["left_out"], bool(attributes.get("more"))
        why = "because no include pattern of the workspace matches"
        return f"{_files(count, least=least)} not published, {why}: {_such_as(count, shown)}."
    if "not_published" in attributes:
        count = attributes["not_published"]
        return f"{_files(count)} not published, because the task is read_only: {_such_as(count, shown)}."
    if "empty_prefix" in attributes:
        return f"the workspace's prefix {attributes['empty_prefix']} has no files."
    if "unmatched" in attributes:
        patterns = attributes["unmatched"]
        deeper = [f"**/{pattern}" for pattern in patterns if "/" not in pattern]
        hint = f"; {deeper[0]!r} matches in directories, too" if deeper else ""
        return f"no file matches the workspace's include {', '.join(map(repr, patterns))}{hint}."
    names = ", ".join(shown)
    if "unknown_fields" in attributes:
        more = attributes["unknown_fields"] - len(shown)
        return f"the task ignores unknown fields of its input: {names}{f' and {more} more' if more > 0 else ''}."
    if "unknown_params" in attributes:
        more = attributes["unknown_params"] - len(shown)
        names += f" and {more} more" if more > 0 else ""
        there = ", ".join(map(str, attributes.get("known", ()))) or "none"
        return f"the task ignores unknown params: {names}; it has {there}."
    return None


def _files(count: int, *, least: bool = False) -> str:
    if count == 1 and not least:
        return "a changed file is"
    return f"{'at least ' if least else ''}{count} changed files are"


def _such_as(count: int, shown: Sequence[str]) -> str:
    return ", ".join(shown) + (", …" if count > len(shown) else "")


def log_event(event: Event) -> None:
    """Write one event as a log line, with its fields as `extra`."""
    failed_to_clean = PHASES[event.phase].is_best_effort and event.kind == "failed"
    warns = event.kind == "progress" and warning_for(event.phase, event.attributes) is not None
    level = logging.WARNING if failed_to_clean or warns else logging.DEBUG
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
