"""How long an attempt took, by phases, and the line that says so in the task's log of an engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_PHASES = 16
MAX_NUMBER = 10**12 - 1
"""Of milliseconds and of files."""

_TOOK = r"([0-9]{1,9}\.[0-9]{3}) s"
_COUNT = r"([0-9,]{1,15})"
_COMMIT = r"[0-9A-Za-z]{1,128}"
_NAME = r"[a-z_]{1,20}"
_LINE = re.compile(rf"perago: took {_TOOK}(?:, result taken from commit ({_COMMIT}))?(?:: (.+))?")
_PHASE = re.compile(rf"({_NAME}) {_TOOK}(?:, {_COUNT} files(?:, {_COUNT} kept)?)?")
_LAYS_OUT = "materialize"
_COMPUTES = "body"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long an attempt took.

    Attributes:
        took: milliseconds of the whole attempt, without its report.
        phases: milliseconds of each phase that has ended and took one or more, in the order of their beginning; those
            of a phase that came more than once are added.
        files: that were laid out, kept: how many of them were there already; None if that is not known. Only with
            the phase `materialize`.
        cached_from: id of the commit whose result was taken in place of a body's.
    """

    took: int = 0
    phases: Mapping[str, int] = field(default_factory=dict)
    files: int | None = None
    kept: int | None = None
    cached_from: str | None = None


class Stopwatch:
    """Adds up the phases of one attempt from its events."""

    def __init__(self) -> None:
        self._phases: dict[str, int] = {}
        self._files: int | None = None
        self._kept: int | None = None
        self._cached_from: str | None = None

    def note(self, phase: str, kind: str, seconds: float, attributes: Mapping[str, Any]) -> None:
        """Note an event; see `ports.Event`. One whose duration is no number counts as none."""
        if kind == "started":
            self._phases.setdefault(phase, 0)
            if phase == _COMPUTES:
                self._cached_from = None  # the earlier result was gone
        elif kind != "progress":
            self._phases[phase] = self._phases.get(phase, 0) + _milli(seconds)
            if isinstance(origin := attributes.get("cached_from"), str):
                self._cached_from = origin
            if phase == _LAYS_OUT:
                self._files, self._kept = _whole(attributes.get("files")), _whole(attributes.get("files_kept"))

    def timing(self, seconds: float = 0.0) -> Timing:
        """The phases that have ended.

        Args:
            seconds: of the whole attempt.
        """
        return Timing(
            took=_milli(seconds),
            phases={name: taken for name, taken in self._phases.items() if taken},
            files=self._files,
            kept=self._kept,
            cached_from=self._cached_from,
        )


def timing_line(timing: Timing) -> str:
    """The line, at most about 1,000 characters. It has numbers, names of phases and the id of a commit."""
    origin = timing.cached_from or ""
    taken = f", result taken from commit {origin}" if re.fullmatch(_COMMIT, origin) else ""
    named = [(name, took) for name, took in timing.phases.items() if re.fullmatch(_NAME, name)]
    phases = "; ".join(
        f"{name} {_seconds(took)}{_files(timing) if name == _LAYS_OUT else ''}" for name, took in named[:MAX_PHASES]
    )
    return f"perago: took {_seconds(timing.took)}{taken}{': ' if phases else ''}{phases}"


def timing_in(line: str) -> Timing | None:
    """The timing that a line says; None if it is not exactly as `timing_line` writes it."""
    if (match := _LINE.fullmatch(line)) is None:
        return None
    found = [_PHASE.fullmatch(part) for part in (match[3] or "").split("; ") if part]
    parts = [part for part in found if part is not None]
    laid_out = next((part for part in parts if part[1] == _LAYS_OUT), None)
    timing = Timing(
        took=_milliseconds(match[1]),
        phases={part[1]: _milliseconds(part[2]) for part in parts},
        files=None if laid_out is None else _count(laid_out[3]),
        kept=None if laid_out is None else _count(laid_out[4]),
        cached_from=match[2],
    )
    return timing if timing_line(timing) == line else None


def _files(timing: Timing) -> str:
    if timing.files is None:
        return ""
    kept = "" if timing.kept is None else f", {_bounded(timing.kept):,} kept"
    return f", {_bounded(timing.files):,} files{kept}"


def _seconds(milliseconds: int) -> str:
    bounded = _bounded(milliseconds)
    return f"{bounded // 1000}.{bounded % 1000:03} s"


def _bounded(number: int) -> int:
    return min(max(number, 0), MAX_NUMBER)


def _milli(seconds: float) -> int:
    return round(seconds * 1000) if 0 <= seconds * 1000 <= MAX_NUMBER else 0


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _milliseconds(seconds: str) -> int:
    return int(seconds.replace(".", ""))


def _count(text: str | None) -> int | None:
    return None if text is None else int(text.replace(",", "") or "0")
