"""Show an attempt's phases and log lines on stderr, on a terminal with a moving progress line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from perago.cli.output import count_text, is_plain, note, printable, printable_lines, size_text, terminal_columns
from perago.ports import Event, Phase
from perago.telemetry.logs import warning_for
from perago.values.redaction import mask_text

if TYPE_CHECKING:
    from rich.progress import TaskID


MIN_MOVING_COLUMNS = 60
"""Columns below which a terminal gets plain lines: bar, files, bytes and rate do not fit."""

PLAIN_SECONDS = 10.0
"""Minimum time between two progress lines of a phase if there is no moving line."""

_TRANSFERS = (Phase.MATERIALIZE, Phase.STAGE)
_SHORT_COMMIT = 12


class Lines(Protocol):
    """Shows lines."""

    def line(self, text: str) -> None:
        """Print a line that stays."""
        ...


class Display(Lines, Protocol):
    """Observer that shows events."""

    def __call__(self, event: Event, /) -> None: ...


@contextmanager
def open_display(*, still: bool = False) -> Iterator[Display]:
    """Open the display that fits stderr.

    Args:
        still: no moving line: a debugger uses the terminal.
    """
    columns = terminal_columns(sys.stderr)
    if still or is_plain(sys.stderr) or columns is None or columns < MIN_MOVING_COLUMNS:
        yield LineDisplay()
        return
    display = MovingDisplay(sys.stderr)
    try:
        yield display
    finally:
        display.close()


class LineDisplay:
    """Plain lines: for files, pipes, narrow terminals and NO_COLOR."""

    def __init__(self) -> None:
        self._latest: Mapping[str, Any] = {}
        self._told_seconds = 0.0

    def __call__(self, event: Event, /) -> None:
        if event.kind == "started":
            self._latest, self._told_seconds = {}, 0.0
        if event.kind == "progress":
            if (caution := _warning_of(event)) is not None:
                self.line(caution)
                return
            self._latest = event.attributes
            if event.seconds - self._told_seconds >= PLAIN_SECONDS:
                self._told_seconds = event.seconds
                self.line(f"{event.phase}: {describe_progress(event)}")
            return
        text = describe(event, self._latest)
        if text is not None:
            self.line(text)

    def line(self, text: str) -> None:
        note(text)


class MovingDisplay:
    """Lines, with a moving line below them while files are transferred or a body reports progress."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(file=stream, highlight=False),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._moving: TaskID | None = None
        self._latest: Mapping[str, Any] = {}

    def __call__(self, event: Event, /) -> None:
        match event.kind:
            case "started":
                self._latest = {}
                if event.phase in _TRANSFERS:
                    self._move(event)
            case "progress" if (caution := _warning_of(event)) is not None:
                self.line(caution)
            case "progress":
                self._latest = event.attributes
                self._move(event)
            case _:
                self._halt()
        if event.kind != "progress" and (text := describe(event, self._latest)) is not None:
            self.line(text)

    def line(self, text: str) -> None:
        self._progress.console.print(printable_lines(text), markup=False, highlight=False, soft_wrap=False)

    def close(self) -> None:
        self._halt()

    def _move(self, event: Event) -> None:
        done, total = how_far(event.attributes)
        text = describe_progress(event)
        if self._moving is None:
            self._moving = self._progress.add_task(str(event.phase), total=total, text="")
            self._progress.start()
        self._progress.update(self._moving, total=total, completed=done, text=text)

    def _halt(self) -> None:
        if self._moving is None:
            return
        self._progress.stop()
        self._progress.remove_task(self._moving)
        self._moving = None


def _warning_of(event: Event) -> str | None:
    caution = warning_for(event.phase, event.attributes)
    return None if caution is None else f"warning: {caution}"


def how_far(attributes: Mapping[str, Any]) -> tuple[float, float | None]:
    """(done, total) of a progress event, in the body's own units or in files; total is None if unknown."""
    if "done" in attributes:
        return attributes["done"], attributes.get("total")
    return attributes.get("files", 0), attributes.get("total_files") or None


def describe_progress(event: Event) -> str:
    """Progress of a phase in words: files, bytes and rate, or the body's message."""
    attributes = event.attributes
    done, total = how_far(attributes)
    if "done" in attributes:
        text = f"{done:g}" if total is None else f"{done:g} of {total:g}"
        message = attributes.get("message")
        return f"{text}, {printable(message)}" if message else text
    if "files" not in attributes:
        return ""
    files = count_text(int(done), "file") if total is None else f"{done} of {count_text(int(total), 'file')}"
    return f"{files}, {size_text(attributes.get('bytes', 0))}{_rate(attributes, event.seconds)}"


def describe(event: Event, latest: Mapping[str, Any]) -> str | None:
    """The line for a phase's start or end; None if it gets no line.

    Args:
        latest: attributes of the phase's last progress event.
    """
    if event.kind == "started":
        return "body: running" if event.phase is Phase.BODY else None
    if event.kind == "failed":
        return _describe_failure(event)
    match event.phase:
        case Phase.MATERIALIZE | Phase.STAGE:
            known = {**latest, **event.attributes}
            if "files" not in known:
                return None
            files, size = count_text(known["files"], "file"), size_text(known.get("bytes", 0))
            return f"{event.phase}: {files}, {size} in {event.seconds:.1f} s{_rate(known, event.seconds)}"
        case Phase.BODY:
            return f"body: done in {event.seconds:.1f} s"
        case Phase.DIFF:
            return f"diff: {describe_counts(event.attributes)}"
        case Phase.PUBLISH:
            return f"publish: commit {str(event.attributes.get('ref', ''))[:_SHORT_COMMIT]}"
        case _:
            return None


def describe_counts(counts: Mapping[str, Any]) -> str:
    """ "2 added, 1 deleted"; "nothing changed"."""
    parts = [f"{counts[name]} {name}" for name in ("added", "modified", "deleted") if counts.get(name)]
    return ", ".join(parts) or "nothing changed"


def _describe_failure(event: Event) -> str | None:
    if event.phase is not Phase.CLEAN:
        return f"{event.phase.replace('_', ' ')}: failed after {event.seconds:.1f} s"
    what = event.attributes.get("what", "")
    return (
        f"warning: the {what} could not be removed: {mask_text(str(event.error))}. Nothing depends on it; the next "
        f"cleanup removes it"
    )


def _rate(attributes: Mapping[str, Any], seconds: float) -> str:
    size = attributes.get("bytes", 0)
    return f", {size_text(round(size / seconds))}/s" if size and seconds >= 0.1 else ""


_LEVELS = {"": logging.INFO, "perago": logging.WARNING, "perago.task": logging.INFO}
"""Log lines of the task are shown; Perago's own work is shown by phase."""


@contextmanager
def log_lines_on(display: Lines) -> Iterator[None]:
    """Show log records as lines of the display while the context is open."""
    handler = _DisplayHandler(display)
    root = logging.getLogger()
    before = {name: logging.getLogger(name or None).level for name in _LEVELS}
    root.addHandler(handler)
    for name, level in _LEVELS.items():
        logging.getLogger(name or None).setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name or None).setLevel(level)


class _DisplayHandler(logging.Handler):
    def __init__(self, display: Lines) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._display.line(mask_text(self.format(record)))
        except Exception:  # noqa: BLE001 - a log call never fails its caller
            self.handleError(record)
