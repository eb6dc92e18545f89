"""What a content is, as far as a page shows it. Runs in the child only."""

from __future__ import annotations

import importlib
import io
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from perago.asking.tables import Table, compared_rows, separator_of, table_of

MAX_LINES = 400
MAX_LINE = 1_000
MAX_ROWS = 50
MAX_COLUMNS = 40
MAX_CELL = 200
MAX_NODES = 1_500
MAX_DEPTH = 20
MAX_DISTINCT = 10_000
BINS = 12
MAX_SIDE = 480
"""Pixels of a thumbnail's longer side."""
MAX_PIXELS = 64_000_000
"""Of an image that is decoded at all."""

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp")
_JSON = (".json", ".geojson", ".ipynb")


def described(name: str, content: bytes) -> dict[str, Any]:
    """A content as JSON values: always a `kind`, and what that has."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    if suffix in IMAGES:
        return image(content) or {"kind": "binary"}
    if suffix == ".parquet":
        return parquet(content) or {"kind": "binary"}
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {"kind": "binary"}
    if "\0" in text:
        return {"kind": "binary"}
    separator = separator_of(name)
    if separator is not None and (found := table(content, separator)) is not None:
        return found
    if suffix in _JSON and (found := tree(text)) is not None:
        return found
    return lines_of(text)


def lines_of(text: str) -> dict[str, Any]:
    lines = text.split("\n", MAX_LINES)
    shown = [line.rstrip("\r") for line in lines[:MAX_LINES]]
    is_cut = len(lines) > MAX_LINES or any(len(line) > MAX_LINE for line in shown)
    return {"kind": "text", "lines": [line[:MAX_LINE] for line in shown], "is_cut": is_cut}


# ---------------------------------------------------------------- tables


def table(content: bytes, separator: str) -> dict[str, Any] | None:
    """A table; None if it is none."""
    found = table_of(content, separator)
    if found is None or not found.columns:
        return None
    names, rows = found.columns[:MAX_COLUMNS], found.rows
    columns = [[row[at] if at < len(row) else "" for row in rows] for at in range(len(names))]
    return {
        "kind": "table",
        "columns": [column_of(name, values) for name, values in zip(names, columns, strict=True)],
        "rows": [[cell[:MAX_CELL] for cell in row[:MAX_COLUMNS]] for row in rows[:MAX_ROWS]],
        "row_count": len(rows),
        "column_count": len(found.columns),
    }


def column_of(name: str, values: Sequence[str]) -> dict[str, Any]:
    """A column with its type, counts, and, of numbers, a histogram."""
    given = [value for value in values if value != ""]
    numbers = _numbers(given)
    found: dict[str, Any] = {
        "name": name[:MAX_CELL],
        "is_number": bool(numbers),
        "type": "text" if numbers is None else "whole number" if _are_whole(given) else "number",
        "empty": len(values) - len(given),
        "distinct": min(len(set(given)), MAX_DISTINCT),
        "histogram": [],
    }
    if not given:
        found["type"] = "empty"
    elif numbers:
        least, most = min(numbers), max(numbers)
        found |= {"least": least, "most": most, "mean": math.fsum(numbers) / len(numbers)}
        found["histogram"] = histogram(numbers, least, most)
    return found


def _numbers(texts: Iterable[str]) -> list[float] | None:
    """Texts as finite numbers; None if one is none."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    finite = [number for number in numbers if math.isfinite(number) and abs(number) < 1e300]
    return finite if len(finite) == len(numbers) else None


def _are_whole(texts: Iterable[str]) -> bool:
    return all(text.strip().lstrip("+-").isdecimal() for text in texts)


def histogram(numbers: Iterable[float], least: float, most: float) -> list[int]:
    """How many numbers are in each of some ranges of one width."""
    counts = [0] * BINS
    width = (most - least) / BINS
    for number in numbers:
        at = int((number - least) / width) if width > 0 else 0
        counts[min(at, BINS - 1)] += 1
    return counts


def parquet(content: bytes) -> dict[str, Any] | None:
    """The first rows of a Parquet file; None if this host has no reader for it."""
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError:
        return None
    file = reader.ParquetFile(io.BytesIO(content))
    names = file.schema_arrow.names[:MAX_COLUMNS]
    batch = next(file.iter_batches(batch_size=MAX_ROWS, columns=names), None)
    values = [] if batch is None else [[_cell(value) for value in column.to_pylist()] for column in batch.columns]
    types = {field.name: str(field.type)[:MAX_CELL] for field in file.schema_arrow}
    return {
        "kind": "table",
        "columns": [
            {"name": name[:MAX_CELL], "type": types[name], "is_number": bool(_numbers(filter(None, cells)))}
            for name, cells in zip(names, values, strict=False)
        ],
        "rows": [list(row) for row in zip(*values, strict=True)],
        "row_count": file.metadata.num_rows,
        "column_count": file.metadata.num_columns,
    }


def rows_between(name: str, before: bytes, after: bytes, key: str | None) -> dict[str, Any] | None:
    """In what two states of a table differ, row by row; None if it is none."""
    old, new = _whole(name, before), _whole(name, after)
    if old is None or new is None:
        return None
    found = compared_rows(old, new, key, limit=MAX_ROWS)
    counts = found.counts
    return {
        "key": None if counts.key is None else counts.key[:MAX_CELL],
        "added": counts.added,
        "removed": counts.removed,
        "changed": counts.changed,
        "columns_added": _cells(counts.columns_added),
        "columns_removed": _cells(counts.columns_removed),
        "columns": _cells(found.columns),
        "column_count": len(found.columns),
        "rows": [
            {
                "kind": row.kind,
                "name": row.name[:MAX_CELL],
                "before": None if row.before is None else _cells(row.before),
                "after": None if row.after is None else _cells(row.after),
            }
            for row in found.rows
        ],
    }


def _cells(texts: Sequence[str]) -> list[str]:
    return [text[:MAX_CELL] for text in texts[:MAX_COLUMNS]]


def _whole(name: str, content: bytes) -> Table | None:
    """A table with all its rows; None if it is none, or this host has no reader for it."""
    separator = separator_of(name)
    if separator is not None:
        return table_of(content, separator)
    if not name.lower().endswith(".parquet"):
        return None
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError:
        return None
    found = reader.ParquetFile(io.BytesIO(content))
    names = list(dict.fromkeys(found.schema_arrow.names))
    rows: list[list[str]] = []
    for batch in found.iter_batches(columns=names):
        rows += map(list, zip(*([_cell(value) for value in one.to_pylist()] for one in batch.columns), strict=True))
    return Table(names, rows)


def _cell(value: object) -> str:
    return "" if value is None else str(value)[:MAX_CELL]


# ---------------------------------------------------------------- JSON


def tree(text: str) -> dict[str, Any] | None:
    """A JSON document as nodes; None if it is none."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    left = [MAX_NODES]
    return {"kind": "json", "tree": node("", document, left, 0), "is_cut": left[0] <= 0}


def node(label: str, value: object, left: list[int], depth: int) -> dict[str, Any]:
    """A value of JSON. `left` counts down the nodes that may still be made."""
    left[0] -= 1
    made: dict[str, Any] = {"label": label[:MAX_CELL], "value": None, "count": None, "parts": []}
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else ((str(at), one) for at, one in enumerate(value))
        made["count"], made["value"] = len(value), "object" if isinstance(value, dict) else "list"
        for key, inner in items:
            if left[0] <= 0 or depth >= MAX_DEPTH:
                break
            made["parts"].append(node(str(key), inner, left, depth + 1))
    else:
        made["value"] = json.dumps(value, ensure_ascii=False)[:MAX_LINE]
    return made


# ---------------------------------------------------------------- images


def image(content: bytes) -> dict[str, Any] | None:
    """What an image is; None if this host has no decoder for it."""
    try:
        decoder = _decoder()
    except ImportError:
        return None
    with decoder.open(io.BytesIO(content)) as opened:
        return {"kind": "image", "width": opened.width, "height": opened.height, "format": str(opened.format)[:20]}


def _decoder() -> Any:
    """Pillow, if this host has it.

    Raises:
        ImportError: it has not.
    """
    decoder: Any = importlib.import_module("PIL.Image")
    decoder.MAX_IMAGE_PIXELS = MAX_PIXELS
    return decoder


def pixels(content: bytes) -> tuple[int, int, bytes]:
    """A thumbnail of an image: width, height, and three bytes for each pixel."""
    decoder = _decoder()
    with decoder.open(io.BytesIO(content)) as opened:
        opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
        shown = opened.convert("RGBA")
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    ground = decoder.new("RGBA", shown.size, "white")
    ground.alpha_composite(shown)
    return ground.width, ground.height, ground.convert("RGB").tobytes()
