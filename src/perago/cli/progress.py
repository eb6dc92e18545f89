"""Show an attempt's phases and log lines on stderr, on a terminal with a moving progress line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from perago.cli.output import is_plain, note, terminal_columns
from perago.ports import PHASES, Event
from perago.running.progress import Display, Lines, describe, describe_progress, how_far, warning_of
from perago.running.text import printable_lines
from perago.values.redaction import mask_text
from perago.worker.process.outbox import receive_logs

if TYPE_CHECKING:
    from rich.progress import TaskID


MIN_MOVING_COLUMNS = 60
"""Columns below which a terminal gets plain lines: bar, files, bytes and rate do not fit."""

PLAIN_SECONDS = 10.0
"""Minimum time between two progress lines of a phase if there is no moving line."""


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
            if (caution := warning_of(event)) is not None:
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
                if PHASES[event.phase].transfer is not None:
                    self._move(event)
            case "progress" if (caution := warning_of(event)) is not None:
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


_LEVELS = {"": logging.INFO, "perago": logging.WARNING, "perago.task": logging.INFO}
"""Log lines of the task are shown; Perago's own work is shown by phase."""


@contextmanager
def log_lines_on(display: Lines) -> Iterator[None]:
    """Show log records as lines of the display while the context is open."""
    receiver_before = receive_logs(_DisplayHandler(display))
    before = {name: logging.getLogger(name or None).level for name in _LEVELS}
    for name, level in _LEVELS.items():
        logging.getLogger(name or None).setLevel(level)
    try:
        yield
    finally:
        receive_logs(receiver_before)
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
