"""In what two states of a table differ, row by row. Plain functions of contents."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True)
class Table:
    """The names of the columns, and the cells of each row, which may be fewer or more."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class RowDifference:
    """In what two states of a table differ.

    Attributes:
        key: the column by which rows are matched; None if they are matched by their position.
        added, removed, changed: number of rows.
        columns_added, columns_removed: their names.
    """

    key: str | None
    added: int
    removed: int
    changed: int
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RowChange:
    """A row that differs.

    Attributes:
        name: its key, or its position from 1.
        before, after: its cells in the columns that both states have; None where it does not exist.
    """

    kind: Literal["added", "removed", "changed"]
    name: str
    before: Sequence[str] | None
    after: Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class ComparedRows:
    """In what two states of a table differ, with the first rows that do.

    Attributes:
        columns: those that both states have.
    """

    counts: RowDifference
    columns: Sequence[str]
    rows: Sequence[RowChange]


def separator_of(path: str) -> str | None:
    """The separator of a table by the name of its file; None if it is not such a text."""
    return _SEPARATORS.get(path[path.rfind(".") :].lower())


def differing_rows(before: bytes, after: bytes, separator: str, key: str | None) -> RowDifference | None:
    """In what two states of a table differ; None if one of them is not a text with a header."""
    old, new = table_of(before, separator), table_of(after, separator)
    return None if old is None or new is None else compared_rows(old, new, key, limit=0).counts


def table_of(content: bytes, separator: str) -> Table | None:
    """A table of a text; None if it has no header."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator))
    except (UnicodeDecodeError, csv.Error):
        return None
    return Table(rows[0], rows[1:]) if rows else None


def compared_rows(before: Table, after: Table, key: str | None, *, limit: int) -> ComparedRows:
    """In what two states of a table differ.

    Args:
        key: the column by which rows are matched, if both states have it. Default: by position.
        limit: rows that are listed, in the order of the newer state, then those that are gone.
    """
    shared = [name for name in before.columns if name in after.columns]
    by = key if key in shared else None
    left, right = (_by_key(table, shared, by) for table in (before, after))
    kinds = _kinds(left, right)
    count = Counter(kinds.values())
    return ComparedRows(
        counts=RowDifference(
            key=by,
            added=count["added"],
            removed=count["removed"],
            changed=count["changed"],
            columns_added=tuple(name for name in after.columns if name not in before.columns),
            columns_removed=tuple(name for name in before.columns if name not in after.columns),
        ),
        columns=shared,
        rows=[
            RowChange(
                kind=kind,
                name=str(int(name[0]) + 1) if by is None else name[0],
                before=left.get(name),
                after=right.get(name),
            )
            for name, kind in list(kinds.items())[:limit]
        ],
    )


_Rows = Mapping[tuple[str, int], tuple[str, ...]]


def _kinds(left: _Rows, right: _Rows) -> dict[tuple[str, int], Literal["added", "removed", "changed"]]:
    found: dict[tuple[str, int], Literal["added", "removed", "changed"]] = {}
    for name, cells in right.items():
        if name not in left:
            found[name] = "added"
        elif left[name] != cells:
            found[name] = "changed"
    found.update((name, "removed") for name in left if name not in right)
    return found


def _by_key(table: Table, shared: Sequence[str], key: str | None) -> _Rows:
    """Rows by their key, or by their position; of several with one key each by its number among them."""
    at = {name: number for number, name in enumerate(table.columns)}
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(table.rows):
        cells = tuple(row[at[name]] if at[name] < len(row) else "" for name in shared)
        name = str(number) if key is None else row[at[key]] if at[key] < len(row) else ""
        seen[name] = seen.get(name, -1) + 1
        found[(name, seen[name])] = cells
    return found
