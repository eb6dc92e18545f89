"""In what commits differ: files, rows of tables, and the params and results of what made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from perago.asking.past import Past
from perago.asking.paths import pattern_of
from perago.asking.series import series_of
from perago.asking.tables import RowDifference, differing_rows, separator_of
from perago.engines.local import LocalEngine, RunSummary
from perago.errors import StoreError, TaskInputError
from perago.ports import CommitEntry, Repository
from perago.running.history import published_run
from perago.values.history import Stamp
from perago.values.names import show_name
from perago.workspace.patterns import Selection

MAX_TABLE_BYTES = 8 * 1024 * 1024
"""Size up to which a table is compared by its rows."""

MAX_COMPARED = 200
"""Commits or runs that are compared at once."""

AT_LAST = " (last)"
"""End of the name of a fact: the last number of a series."""

Kind = Literal["added", "modified", "deleted"]


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
    """One of the commits and runs that are compared.

    Attributes:
        name: what it was asked for by.
        commit: full id; of a run, what it ended with or published last; None if it has published nothing.
        task: the task or workflow, or the person, that made it.
        time: of the commit, or of the run's beginning; None if that is unknown.
        facts: by name, such as `params.depth`.
        stamp: of the commit; None if it has none.
    """

    name: str
    commit: str | None
    task: str
    time: datetime | None
    facts: Mapping[str, Any]
    stamp: Stamp | None = None


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
    selection = Selection([pattern_of(path) for path in paths])
    kinds: dict[str, Kind] = {
        **dict.fromkeys(changes.added, "added"),
        **dict.fromkeys(changes.modified, "modified"),
        **dict.fromkeys(changes.deleted, "deleted"),
    }
    names = sorted(filter(selection.selects, kinds))
    there_before = repository.find_files(before, [path for path in names if kinds[path] != "added"])
    there_after = repository.find_files(after, [path for path in names if kinds[path] != "deleted"])
    for path in names:
        old = None if kinds[path] == "added" else next(there_before)
        new = None if kinds[path] == "deleted" else next(there_after)
        rows = None
        if old is not None and new is not None and max(old.size, new.size) <= MAX_TABLE_BYTES:
            separator = separator_of(path)
            if separator is not None:
                rows = differing_rows(old.read(), new.read(), separator, key)
        yield FileDifference(
            path=path,
            kind=kinds[path],
            before=None if old is None else old.size,
            after=None if new is None else new.size,
            rows=rows,
        )


def column(past: Past, runs: LocalEngine, name: str) -> Column:
    """A commit or a run, with what is known of it: of a run what this host has recorded, and its newest publication.

    Args:
        runs: those that this host has recorded.
        name: the id of a run, a branch, a tag, or a commit.

    Raises:
        TaskInputError: there is neither.
    """
    entry = past.newest_of_run(name)  # first, because a lakeFS server is asked for everything else
    summary = runs.summary(name)
    if summary is not None:
        return _of_run(past, summary, entry)
    if entry is None:
        with suppress(StoreError):
            entry = past.entry(past.resolve(name))
    if entry is None:
        raise TaskInputError(
            f"{past.address.argument} has no commit and no run {show_name(name)}; `perago log` and `perago runs` list "
            f"them"
        )
    task = entry.author if entry.stamp is None else entry.stamp.task
    return Column(name, entry.id, task, entry.time, facts_of(entry), entry.stamp)


def _of_run(past: Past, run: RunSummary, entry: CommitEntry | None) -> Column:
    """Args:
    entry: its newest publication; of a workflow, that of one of its tasks.
    """
    published = {} if entry is None else facts_of(entry)
    facts: dict[str, Any] = {
        "task": run.task_name,
        "status": run.status.lower(),
        "reason": run.reason,
        "duration": run.duration,
        **dict(_flat("params", run.params)),
        **dict(_flat("result", run.result)),
        "input_ref": run.input_ref,
        **{name: value for name, value in published.items() if run.kind == "task" or name.endswith(AT_LAST)},
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    ended_with = None if run.output_ref is None else past.entry(run.output_ref)  # None, too, if it was removed since
    commit = ended_with or entry
    return Column(
        name=run.run_id,
        commit=None if commit is None else commit.id,
        task=run.task_name,
        time=run.started,
        facts=facts,
        stamp=None if entry is None else entry.stamp,
    )


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
        **{f"{name}{AT_LAST}": points[-1][1] for name, points in series_of(stamp).items()},
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
