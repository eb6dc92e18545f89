"""What reading the settings warns of, told as the command tells its warnings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perago.cli.output import note

_LOGGER = logging.getLogger("perago.settings")


def note_warning(text: str) -> None:
    note(f"warning: {text}")


@contextmanager
def settings_warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """While it is entered, each warning of the settings is told this, and nobody that is further out."""
    outer = _LOGGER.handlers[:]
    _LOGGER.handlers[:] = [_Teller(tell)]
    try:
        yield
    finally:
        _LOGGER.handlers[:] = outer


class _Teller(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
