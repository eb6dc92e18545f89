"""What happens in an attempt, in words; and what shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, assert_never

from perago.ports import PHASES, Event, Phase
from perago.running.text import count_text, printable, size_text
from perago.telemetry.logs import warning_for
from perago.values.redaction import mask_text

_SHORT_COMMIT = 12


class Lines(Protocol):
    """Shows lines."""

    def line(self, text: str) -> None:
        """Print a line that stays."""
        ...


class Display(Lines, Protocol):
    """Observer that shows events."""

    def __call__(self, event: Event, /) -> None: ...


def warning_of(event: Event) -> str | None:
    caution = warning_for(event.phase, event.attributes)
    return None if caution is None else f"warning: {caution}"


def how_far(attributes: Mapping[str, Any]) -> tuple[float, float | None]:
    """(done, total) of a progress event, in the body's own units or in files; total is None if unknown."""
    if "done" in attributes:
        return attributes["done"], attributes.get("total")
    return attributes.get("files", 0), attributes.get("total_files") or None


def describe_progress(event: Event) -> str:
    """Progress of a phase in words: files, bytes and rate, or the body's message."""
    return progress_in_words(event.attributes, event.seconds)


def progress_in_words(attributes: Mapping[str, Any], seconds: float) -> str:
    """As `describe_progress`.

    Args:
        seconds: of the phase so far.
    """
    done, total = how_far(attributes)
    if "done" in attributes:
        text = f"{done:g}" if total is None else f"{done:g} of {total:g}"
        message = attributes.get("message")
        return f"{text}, {printable(message)}" if message else text
    if "files" not in attributes:
        return ""
    files = count_text(int(done), "file") if total is None else f"{done} of {count_text(int(total), 'file')}"
    return f"{files}, {size_text(attributes.get('bytes', 0))}{_rate(attributes, seconds)}"


def describe(event: Event, latest: Mapping[str, Any]) -> str | None:
    """The line for a phase's start or end; None if it gets no line.

    Args:
        latest: attributes of the phase's last progress event.
    """
    if event.kind == "started":
        return "body: running" if event.phase is Phase.BODY else None
    if event.kind == "failed":
        return _describe_failure(event)
    if event.kind == "lost":
        return f"{event.phase}: another writer was faster; trying again"
    match event.phase:
        case Phase.DECIDE:
            return describe_cache(event.attributes)
        case Phase.MATERIALIZE | Phase.STAGE:
            known = {**latest, **event.attributes}
            if "files" not in known:
                return None
            files, size = count_text(known["files"], "file"), size_text(known.get("bytes", 0))
            kept = f", {known['files_kept']} kept" if known.get("files_kept") else ""
            return f"{event.phase}: {files}{kept}, {size} in {event.seconds:.1f} s{_rate(known, event.seconds)}"
        case Phase.BODY:
            return f"body: done in {event.seconds:.1f} s"
        case Phase.DIFF:
            return f"diff: {describe_counts(event.attributes)}"
        case Phase.PUBLISH:
            return f"publish: commit {str(event.attributes.get('ref', ''))[:_SHORT_COMMIT]}"
        case Phase.POLL | Phase.PARSE | Phase.PRE_GUARDS | Phase.POST_GUARDS | Phase.FENCE | Phase.REPORT | Phase.CLEAN:
            return None
        case _:
            assert_never(event.phase)


def describe_cache(attributes: Mapping[str, Any]) -> str | None:
    """What the cache came to, by the attributes of a decision; None if that was about something else."""
    match attributes.get("cache"):
        case "hit":
            return f"cache: the result of commit {str(attributes['cached_from'])[:_SHORT_COMMIT]} is taken"
        case "miss":
            return f"cache: the body runs; {attributes['why']}"
        case "unproven":
            return f"cache: later runs cannot reuse this result: {attributes['why']}"
        case _:
            return None


def describe_counts(counts: Mapping[str, Any]) -> str:
    """ "2 added, 1 deleted"; "nothing changed"."""
    parts = [f"{counts[name]} {name}" for name in ("added", "modified", "deleted") if counts.get(name)]
    return ", ".join(parts) or "nothing changed"


def _describe_failure(event: Event) -> str | None:
    if not PHASES[event.phase].is_best_effort:
        return f"{event.phase.replace('_', ' ')}: failed after {event.seconds:.1f} s"
    what = event.attributes.get("what", "")
    return (
        f"warning: the {what} could not be removed: {mask_text(str(event.error))}. Nothing depends on it; the next "
        f"cleanup removes it"
    )


def _rate(attributes: Mapping[str, Any], seconds: float) -> str:
    size = attributes.get("bytes", 0)
    return f", {size_text(round(size / seconds))}/s" if size and seconds >= 0.1 else ""
