"""Log records as JSON lines in files that are begun anew when they are large, and removed when they are old."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from perago.files.private_directory import make_private
from perago.values.json_text import printable_json
from perago.values.redaction import mask_json, mask_text

FIELDS_ATTRIBUTE = "perago_fields"
"""Attribute of a record, given as `extra`: a mapping of what goes into its line besides the usual."""

MAX_LINE_CHARACTERS = 64 * 1024
SWEEP_SECONDS = 600.0
"""How often old files are looked for, while lines are written."""

ROTATION_PAUSE_SECONDS = 60.0
"""After a new file could not be begun: the old one takes the lines meanwhile, whatever its size."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class JsonLinesFormatter(logging.Formatter):
    """One object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, what all lines hold, the record's own.

    Args:
        common: fields of every line.
    """

    def __init__(self, common: Mapping[str, Any]) -> None:
        super().__init__()
        self._common = dict(common)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_text(record.getMessage())[:MAX_LINE_CHARACTERS],
            **self._common,
        }
        fields = getattr(record, FIELDS_ATTRIBUTE, None)
        if isinstance(fields, Mapping):
            line |= {name: value for name, value in mask_json(fields).items() if name not in line}
        if record.exc_info:
            line["traceback"] = mask_text(self.formatException(record.exc_info))[-MAX_LINE_CHARACTERS:]
        return printable_json(_ENCODER.encode(line))


class JsonLinesFile(logging.Handler):
    """Appends records to `<directory>/<name>.jsonl`.

    A file that would grow beyond the size is renamed to `<name>.<time>.jsonl`, and a new one begun; while none can be,
    lines go into the old one. Files of any worker in the directory that nobody has written to for as long as the
    retention are removed.

    Args:
        name: of the worker; what no file name may hold becomes "_".
        max_bytes: of one file.
        retention_seconds: see above.
        common: fields of every line.

    Raises:
        RuntimeConfigError: another user can change the directory.
        OSError: the file cannot be opened.
    """

    def __init__(
        self, directory: Path, name: str, *, max_bytes: int, retention_seconds: float, common: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.setFormatter(JsonLinesFormatter(common))
        self._directory = directory
        self._name = _UNSAFE.sub("_", name)
        self.path = directory / f"{self._name}.jsonl"
        self._max_bytes = max_bytes
        self._retention_seconds = retention_seconds
        self._swept = float("-inf")
        self._next_rotation = float("-inf")
        make_private(directory, "PERAGO_LOG_ROOT")
        self._file: TextIO = self._opened()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
            self._open_again_if_gone()
            size = len(line.encode(errors="replace"))
            if self._size and self._size + size > self._max_bytes and time.monotonic() >= self._next_rotation:
                self._rotate(record)
            self._file.write(line)
            self._file.flush()
            self._size += size
            if time.monotonic() - self._swept >= SWEEP_SECONDS:
                self.sweep()
        except Exception:  # noqa: BLE001 - as every handler does: a log call never fails its caller
            self.handleError(record)

    def sweep(self) -> None:
        """Remove what is older than the retention; best effort."""
        self._swept = time.monotonic()
        before = time.time() - self._retention_seconds
        with suppress(OSError):
            for path in self._directory.glob("*.jsonl"):
                with suppress(OSError):
                    if path != self.path and path.lstat().st_mtime < before:
                        path.unlink()

    def close(self) -> None:
        self.acquire()
        try:
            self._file.close()
        finally:
            self.release()
        super().close()

    def _open_again_if_gone(self) -> None:
        """Another worker has swept the file, as nothing was written for so long; or a person has removed it."""
        if os.fstat(self._file.fileno()).st_nlink == 0:
            make_private(self._directory, "PERAGO_LOG_ROOT")
            self._replace_file()

    def _rotate(self, record: logging.LogRecord) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            with suppress(FileNotFoundError):  # somebody else has moved it
                self.path.rename(self._directory / f"{self._name}.{stamp}.jsonl")
            self._replace_file()
        except OSError:
            self._next_rotation = time.monotonic() + ROTATION_PAUSE_SECONDS
            self.handleError(record)
        else:
            self.sweep()

    def _replace_file(self) -> None:
        """The old one is closed last: there is always one that takes lines."""
        old, self._file = self._file, self._opened()
        with suppress(OSError):  # what a full disk did not take of it
            old.close()

    def _opened(self) -> TextIO:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(handle).st_size
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
