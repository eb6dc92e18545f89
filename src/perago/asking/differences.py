"""In what commits differ: files, rows of tables, and the params and results of what made them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from perago.asking.past import Past
from perago.asking.series import series_of
from perago.errors import StoreError, TaskInputError
from perago.ports import CommitEntry, Repository
from perago.running.history import published_run
from perago.values.names import show_name
from perago.workspace.patterns import Selection

MAX_TABLE_BYTES = 8 * 1024 * 1024
"""Size up to which a table is compared by its rows."""

MAX_COMPARED = 200
"""Commits or runs that are compared at once."""

_SEPARATORS = {".csv": ",", ".tsv": "\t"}

Kind = Literal["added", "modified", "deleted"]


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
class FileDifference:
    """A file that differs.

    Attributes:
        before, after: its size in bytes; None where it does not exist.
        rows: of a table in CSV or TSV up to `MAX_TABLE_BYTES`; None of other files.
    """

    path: str
    kind: Kind
    before: int | None
    after: int | None
    rows: RowDifference | None = None


@dataclass(frozen=True)
class Column:
    """One of the commits that are compared: what it was asked for by, and its facts by name, such as `params.depth`."""

    name: str
    entry: CommitEntry
    facts: Mapping[str, Any]


def differing_files(
    repository: Repository, before: str, after: str, *, paths: Sequence[str] = (), key: str | None = None
) -> Iterator[FileDifference]:
    """The files that differ from one commit to another, by name.

    Args:
        before, after: full commit ids.
        paths: patterns, as for a workspace; only files that one of them matches. Default: all.
        key: the column by which rows of tables are matched, if they have it. Default: by position.
    """
    changes = repository.changes(before, after)
    selection = Selection([path.strip("/") for path in paths])
    kinds: dict[str, Kind] = {
        **dict.fromkeys(changes.added, "added"),
        **dict.fromkeys(changes.modified, "modified"),
        **dict.fromkeys(changes.deleted, "deleted"),
    }
    for path in sorted(filter(selection.selects, kinds)):
        old, new = repository.find_file(before, path), repository.find_file(after, path)
        rows = None
        if old is not None and new is not None and max(old.size, new.size) <= MAX_TABLE_BYTES:
            separator = _SEPARATORS.get(path[path.rfind(".") :].lower())
            if separator is not None:
                rows = differing_rows(old.read(), new.read(), separator, key)
        yield FileDifference(
            path=path,
            kind=kinds[path],
            before=None if old is None else old.size,
            after=None if new is None else new.size,
            rows=rows,
        )


def differing_rows(before: bytes, after: bytes, separator: str, key: str | None) -> RowDifference | None:
    """In what two states of a table differ; None if one of them is no text with a header."""
    old, new = _table(before, separator), _table(after, separator)
    if old is None or new is None:
        return None
    shared = [name for name in old[0] if name in new[0]]
    by = key if key in shared else None
    left, right = (_by_key(header, rows, shared, by) for header, rows in (old, new))
    return RowDifference(
        key=by,
        added=len(right.keys() - left.keys()),
        removed=len(left.keys() - right.keys()),
        changed=sum(left[name] != right[name] for name in left.keys() & right.keys()),
        columns_added=tuple(name for name in new[0] if name not in old[0]),
        columns_removed=tuple(name for name in old[0] if name not in new[0]),
    )


def _table(content: bytes, separator: str) -> tuple[list[str], list[list[str]]] | None:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator))
    except (UnicodeDecodeError, csv.Error):
        return None
    return (rows[0], rows[1:]) if rows else None


def _by_key(
    header: Sequence[str], rows: Sequence[Sequence[str]], shared: Sequence[str], key: str | None
) -> dict[tuple[str, int], tuple[str, ...]]:
    """Rows by their key, or by their position; of several with one key each by its number among them."""
    at = {name: number for number, name in enumerate(header)}
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        cells = tuple(row[at[name]] if at[name] < len(row) else "" for name in shared)
        name = str(number) if key is None else row[at[key]] if at[key] < len(row) else ""
        seen[name] = seen.get(name, -1) + 1
        found[(name, seen[name])] = cells
    return found


def column(past: Past, name: str) -> Column:
    """A commit, or a run by its newest publication, with what is known of it.

    Args:
        name: a branch, a tag, a commit, or the id of a run.

    Raises:
        TaskInputError: the repository has neither.
    """
    try:
        entry = past.entry(past.resolve(name))
    except StoreError:
        entry = past.newest_of_run(name)
    if entry is None:
        raise TaskInputError(
            f"{past.address.argument} has no commit and no run {show_name(name)}; `perago log` and `perago runs` list "
            f"them"
        )
    return Column(name, entry, facts_of(entry))


def facts_of(entry: CommitEntry) -> dict[str, Any]:
    """What is known of a commit, by name, to be compared."""
    stamp = entry.stamp
    if stamp is None:
        return {"author": entry.author, "subject": entry.subject}
    run = published_run(stamp)
    facts: dict[str, Any] = {
        "task": stamp.task if run is None else run.workflow,
        "duration": stamp.duration_ms / 1000,
        **dict(_flat("params", stamp.params if run is None else None)),
        **dict(_flat("workflow_params", stamp.workflow_params)),
        **dict(_flat("result", stamp.result if run is None else None)),
        **{f"{name}, at last": points[-1][1] for name, points in series_of(stamp).items()},
        "input_ref": stamp.input_ref,
        "code_digest": stamp.code_digest,
        "worker": stamp.worker,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _flat(name: str, value: object) -> Iterator[tuple[str, Any]]:
    """The values within a JSON object by their names, such as `params.model.depth`."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif value is not None:
        yield name, value


def rows_of(columns: Sequence[Column]) -> list[tuple[str, list[Any], bool]]:
    """Each fact, its value in each column (None where it lacks one), and whether they differ; in the columns' order."""
    names = dict.fromkeys(name for each in columns for name in each.facts)
    rows = [(name, [each.facts.get(name) for each in columns]) for name in names]
    return [(name, values, any(value != values[0] for value in values)) for name, values in rows]
