"""What bodies log, as lines on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from perago.cli.progress import Display
from perago.redaction import mask_text

_LEVELS = {"": logging.INFO, "perago": logging.WARNING, "perago.task": logging.INFO}
"""Whoever runs a task here wants to see what it says; what Perago does is shown by phase."""


@contextmanager
def log_lines_on(display: Display) -> Iterator[None]:
    """While it is entered, log records are lines of the display."""
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
    def __init__(self, display: Display) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._display.line(mask_text(self.format(record)))
        except Exception:  # noqa: BLE001 - as every handler does: a log call never fails its caller
            self.handleError(record)
