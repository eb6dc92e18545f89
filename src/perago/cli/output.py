"""Output of commands: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import click

from perago.running.text import printable_lines

MIN_WRAP_COLUMNS = 20

MAX_LISTED = 200
"""Number of paths listed without `--json`."""

_STDOUT = 1
_STDERR = 2

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Print a value on stdout, indented or on one line. Control characters are escaped as in JSON."""
    from perago.values.json_text import printable_json

    click.echo(printable_json(json.dumps(value, indent=None if one_line else 2, ensure_ascii=False)))


def tell(text: str) -> None:
    """Print lines on stdout, with control characters escaped."""
    click.echo(printable_lines(text))


@contextmanager
def result_on_stdout() -> Iterator[None]:
    """Print a result. A closed or full stdout is a warning, not an error."""
    if sys.__stdout__ is None:
        note("warning: stdout is closed; the result is not printed")
        yield
        return
    try:
        yield
    except OSError as exc:
        note(f"warning: the result could not be printed on stdout: {exc.strerror}")
        _drop_stdout()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what a task's code and its child processes print to stderr: stdout is for the result."""
    sys.stdout.flush()
    saved = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, _STDOUT)
        os.close(saved)


def _drop_stdout() -> None:
    """Discard the rest of the buffer: Python flushes it at exit and would fail with an exit code of its own."""
    _send_nowhere(sys.stdout.fileno())


def drop_unwritten_stderr() -> None:
    """Discard the rest of the buffer; see `_drop_stdout`."""
    try:
        sys.stderr.flush()
    except OSError:
        _send_nowhere(_STDERR)


def _send_nowhere(number: int) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    os.close(sink)


def note(text: str) -> None:
    """Print a message for the user on stderr, wrapped."""
    say(wrap(printable_lines(text), sys.stderr))


def say(text: str) -> None:
    """As `tell`, on stderr. An error while printing is ignored: it must not change the exit code."""
    with suppress(OSError):
        click.echo(printable_lines(text), err=True)


def wrap(text: str, stream: TextIO, indent: str = "") -> str:
    """Wrap lines at the terminal's width. Unchanged if the stream is not a terminal."""
    columns = terminal_columns(stream)
    if columns is None:
        return text
    width = max(columns - 1, MIN_WRAP_COLUMNS)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def terminal_columns(stream: TextIO) -> int | None:
    """Width of the stream's terminal; None if it is not a terminal."""
    if not stream.isatty():
        return None
    return shutil.get_terminal_size().columns


def is_plain(stream: TextIO) -> bool:
    """Whether to avoid colours and moving lines."""
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print Python warnings without file and line: the user has to correct a declaration, not that line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        note(f"warning: {text}")


_LOGGER = logging.getLogger("perago.settings")


def note_warning(text: str) -> None:
    note(f"warning: {text}")


@contextmanager
def settings_warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass each warning of the settings to `tell`, and to no outer handler, while the context is open."""
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
