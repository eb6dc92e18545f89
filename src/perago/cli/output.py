"""What commands print: results on stdout, everything else on stderr, warnings of settings among it."""

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

MIN_WRAP_COLUMNS = 20

MAX_LISTED = 200
"""Paths that are listed for people; `--json` has all."""

_STDOUT = 1
_STDERR = 2

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


def print_json(value: Any, *, one_line: bool = False) -> None:
    """A value on stdout, indented or on one line. What would steer a terminal is escaped, as JSON has it."""
    from perago.values.json_text import printable_json

    click.echo(printable_json(json.dumps(value, indent=None if one_line else 2, ensure_ascii=False)))


def tell(text: str) -> None:
    """Lines on stdout, with everything escaped that would steer a terminal."""
    click.echo(printable_lines(text))


@contextmanager
def result_on_stdout() -> Iterator[None]:
    """For printing what came of something that is done: where stdout is closed or full, that is told, no failure."""
    if sys.__stdout__ is None:
        note("warning: stdout is closed; what came of it is not printed")
        yield
        return
    try:
        yield
    except OSError as exc:
        note(f"warning: what came of it could not be printed on stdout: {exc.strerror}")
        _drop_stdout()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What a task's code prints goes to stderr, what it starts likewise: stdout is for the result."""
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
    """Python writes what is left in the stream's buffer when it ends, and would fail at that with a code of its own."""
    _send_nowhere(sys.stdout.fileno())


def drop_unwritten_stderr() -> None:
    """As for stdout: what a full disk, or a reader that went away, did not take is of no use to anybody any more."""
    try:
        sys.stderr.flush()
    except OSError:
        _send_nowhere(_STDERR)


def _send_nowhere(number: int) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, number)
    os.close(sink)


def note(text: str) -> None:
    """Something for the person, on stderr."""
    say(wrap(printable_lines(text), sys.stderr))


def say(text: str) -> None:
    """As `tell`, on stderr. What a command came to does not hang on whether anybody can read it."""
    with suppress(OSError):
        click.echo(printable_lines(text), err=True)


def printable(text: str) -> str:
    """A text of unknown origin with everything escaped that would steer a terminal, or turn a line around."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, but lines stay lines, and tabs are spaces."""
    return "\n".join(printable(line.rstrip("\r").expandtabs()) for line in text.split("\n"))


def reason_within(task_name: str, reason: str | None) -> str:
    """Why a task failed, for a line that names the task already."""
    return (reason or "").removeprefix(f"task {task_name!r}: ")


def wrap(text: str, stream: TextIO, indent: str = "") -> str:
    """A text with its long lines broken at the terminal's width; as it is where the stream is no terminal."""
    columns = terminal_columns(stream)
    if columns is None:
        return text
    width = max(columns - 1, MIN_WRAP_COLUMNS)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def shorten(text: str, columns: int | None) -> str:
    """A text cut to so many columns; None: not cut."""
    return text if columns is None or len(text) <= columns else text[: max(columns - 1, 1)] + "…"


def terminal_columns(stream: TextIO) -> int | None:
    """How wide the terminal is behind a stream; None where there is none."""
    if not stream.isatty():
        return None
    return shutil.get_terminal_size().columns


def is_plain(stream: TextIO) -> bool:
    """Whether colours and moving lines are unwelcome."""
    return not stream.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def size_text(count: int) -> str:
    """Bytes for people: "512 B", "1.5 MB"; a unit is 1024 of the one before."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def count_text(count: int, noun: str) -> str:
    """ "1 file", "3 files"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Tell Python's warnings without file and line, as the person has to mend a declaration and not that line."""
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
