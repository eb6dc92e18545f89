"""Log records as JSON lines, in files that are rotated by size and removed by age."""

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
"""Attribute of a record, set with `extra`: a mapping of additional fields for its line."""

MAX_LINE_CHARACTERS = 64 * 1024
SWEEP_SECONDS = 600.0
"""Interval between removals of old files while lines are written."""

ROTATION_PAUSE_SECONDS = 60.0
"""Pause after a failed rotation. The old file is used in the meantime, whatever its size."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class JsonLinesFormatter(logging.Formatter):
    """One object per line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, common fields, the record's own.

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

    A file that would exceed the size limit is renamed to `<name>.<time>.jsonl`, and a new one is started. If that
    fails, the old one is used. Files of any worker in the directory that are older than the retention are removed.

    Args:
        name: of the worker; characters that are invalid in file names become "_".
        max_bytes: per file.
        retention_seconds: since the last write to a file.
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
        except Exception:  # noqa: BLE001 - a log call never fails its caller, as in every handler
            self.handleError(record)

    def sweep(self) -> None:
        """Remove files older than the retention; best effort."""
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
        """Open a new file if another worker's sweep, or a person, has removed this one."""
        if os.fstat(self._file.fileno()).st_nlink == 0:
            make_private(self._directory, "PERAGO_LOG_ROOT")
            self._replace_file()

    def _rotate(self, record: logging.LogRecord) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            with suppress(FileNotFoundError):  # already moved
                self.path.rename(self._directory / f"{self._name}.{stamp}.jsonl")
            self._replace_file()
        except OSError:
            self._next_rotation = time.monotonic() + ROTATION_PAUSE_SECONDS
            self.handleError(record)
        else:
            self.sweep()

    def _replace_file(self) -> None:
        """Open the new file before closing the old one, so that one is always open."""
        old, self._file = self._file, self._opened()
        with suppress(OSError):  # data that a full disk did not take
            old.close()

    def _opened(self) -> TextIO:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(handle).st_size
        return os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
