"""Words and sizes for people, on a terminal and in a notebook."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perago.worker.process.messages import Log


def printable(text: str) -> str:
    """Text of unknown origin, with characters escaped that control a terminal or the text direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, but line breaks stay and tabs become spaces."""
    return "\n".join(printable(line.rstrip("\r").expandtabs()) for line in text.split("\n"))


def reason_within(task_name: str, reason: str | None) -> str:
    """Reason of a failure, for a line that already names the task."""
    return (reason or "").removeprefix(f"task {task_name!r}: ")


def json_line(value: Mapping[str, Any] | None) -> str:
    """A JSON object of a stamp on one line; None is one that was too large for it."""
    return "(too large to keep)" if value is None else printable(json.dumps(value, ensure_ascii=False))


def shorten(text: str, columns: int | None) -> str:
    """Cut text to a number of columns; unchanged if `columns` is None."""
    return text if columns is None or len(text) <= columns else text[: max(columns - 1, 1)] + "…"


def size_text(count: int) -> str:
    """Readable size: "512 B", "1.5 MB". 1 KB is 1024 B."""
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def span_text(seconds: float) -> str:
    """ "12 s", "3 min", "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count_text(count: int, noun: str) -> str:
    """ "1 file", "3 files"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def log_line(message: Log) -> str:
    """A log record of a body as one line."""
    return f"{logging.getLevelName(message.level)} {message.logger or 'root'}: {message.text}"
