"""Previews a file in a child process. Checks the format of its answer and trusts nothing else."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perago.ui.preview.child import LENGTH, MAX_OUTPUT_BYTES, SIZE
from perago.ui.preview.content import (
    BINS,
    MAX_CELL,
    MAX_COLUMNS,
    MAX_LINE,
    MAX_LINES,
    MAX_NODES,
    MAX_ROWS,
    MAX_SIDE,
)

MAX_BYTES = 16 * 1024**2
"""Size up to which a content is read for a preview."""

SECONDS = 10.0
"""For one preview, the start of the process included."""

AT_ONCE = 2
"""Previews that are made at the same time. Others wait."""

_turns = threading.BoundedSemaphore(AT_ONCE)

_Cell = Annotated[str, Field(max_length=MAX_CELL)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Column(_Said):
    """A column of a table; of a Parquet file, of which few rows are read, without counts and figures."""

    name: _Cell
    type: _Cell
    is_number: bool
    empty: int | None = None
    distinct: int | None = None
    histogram: Annotated[list[int], Field(max_length=BINS)] = []
    least: float | None = None
    most: float | None = None
    mean: float | None = None


class JsonNode(_Said):
    """A value of JSON.

    Attributes:
        count: of an object or a list, how many parts it has; `parts` may have fewer.
    """

    label: _Cell
    value: Annotated[str, Field(max_length=MAX_LINE)]
    count: int | None
    parts: Annotated[list[JsonNode], Field(max_length=MAX_NODES)]


class Preview(_Said):
    """What a page shows of a file.

    Attributes:
        kind: `failed`: its reader failed, or took too much time or memory; `large`: nobody has read it.
        is_cut: there is more of it.
    """

    kind: Literal["text", "table", "json", "image", "binary", "failed", "large"]
    lines: Annotated[list[Annotated[str, Field(max_length=MAX_LINE)]], Field(max_length=MAX_LINES)] = []
    columns: Annotated[list[Column], Field(max_length=MAX_COLUMNS)] = []
    rows: Annotated[list[Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)]], Field(max_length=MAX_ROWS)] = []
    row_count: int = 0
    column_count: int = 0
    tree: JsonNode | None = None
    width: int = 0
    height: int = 0
    format: Annotated[str, Field(max_length=20)] = ""
    is_cut: bool = False


class ComparedRow(_Said):
    """A row that differs: its key or position, and its cells in the shared columns, where it exists."""

    kind: Literal["added", "removed", "changed"]
    name: _Cell
    before: Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)] | None
    after: Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)] | None


class RowsBetween(_Said):
    """In what two states of a table differ; see `asking.tables`.

    Attributes:
        column_count: of the columns that both have; `columns` may have fewer.
        rows: the first ones.
    """

    key: _Cell | None
    added: int
    removed: int
    changed: int
    columns_added: Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)]
    columns_removed: Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)]
    columns: Annotated[list[_Cell], Field(max_length=MAX_COLUMNS)]
    column_count: int
    rows: Annotated[list[ComparedRow], Field(max_length=MAX_ROWS)]


def rows_between(name: str, before: bytes, after: bytes, key: str | None) -> RowsBetween | None:
    """In what two states of a table differ; None if it is none, or its reader failed, or takes too much."""
    said = _said(["rows", name, key or ""], LENGTH.pack(len(before)) + before + after)
    try:
        return None if said is None else RowsBetween.model_validate_json(said)
    except (ValidationError, RecursionError):
        return None


def preview_of(name: str, content: bytes) -> Preview:
    """The preview of a content of at most `MAX_BYTES`. Never raises for what the content is."""
    said = _said(["describe", name], content)
    try:
        return Preview(kind="failed") if said is None else Preview.model_validate_json(said)
    except (ValidationError, RecursionError):
        return Preview(kind="failed")


def thumbnail_of(name: str, content: bytes) -> bytes | None:
    """A PNG of an image, made here of the pixels that the child has read; None if there is no decoder for it."""
    said = _said(["pixels", name], content)
    if said is None or len(said) < SIZE.size:
        return None
    width, height = SIZE.unpack(said[: SIZE.size])
    pixels = said[SIZE.size :]
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or len(pixels) != width * height * 3:
        return None
    return png_of(width, height, pixels)


def png_of(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG of three bytes for each pixel."""
    rows = b"".join(b"\0" + pixels[at : at + width * 3] for at in range(0, len(pixels), width * 3))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (_part(b"IHDR", head), _part(b"IDAT", zlib.compress(rows)), _part(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _said(arguments: Sequence[str], content: bytes) -> bytes | None:
    """What the child says; None if it failed, or took too long."""
    plain = [text.encode("utf-8", "replace").decode().replace("\0", "") for text in arguments]
    command = [sys.executable, "-I", "-B", "-m", "perago.ui.preview.child", *plain]
    with _turns, tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(content)
        given.seek(0)
        child = subprocess.Popen(  # noqa: S603 - a program of ours; the name is an argument that it reads
            command,
            stdin=given,
            stdout=said,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            code = child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if code != 0:
            return None
        said.seek(0)
        return said.read(MAX_OUTPUT_BYTES)
