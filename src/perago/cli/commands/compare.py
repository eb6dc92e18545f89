"""`perago diff` and `perago compare`: in what commits and runs differ."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell
from perago.running.repos.address import local_engine, parse_address
from perago.running.text import count_text, printable, shorten, size_text

if TYPE_CHECKING:
    from perago.asking.differences import FileDifference
    from perago.asking.tables import RowDifference

_SHORT = 12
_CELL = 40
"""Characters of a value that are shown of several side by side."""


@click.command()
@click.argument("before", metavar="COMMIT")
@click.argument("after", metavar="COMMIT")
@repo_option
@click.option("--path", "paths", metavar="PATTERN", multiple=True, help="Only these files. Repeatable.")
@click.option("--key", metavar="COLUMN", help="Match the rows of tables by this column.  [default: by position]")
@json_option
def diff(before: str, after: str, repo: str, paths: tuple[str, ...], key: str | None, as_json: bool) -> None:
    """Show the files in which one commit differs from another: their sizes, and the rows of tables (CSV, TSV).

    \b
      perago diff main~ main --repo data.git --path 'clean/**' --key id

    A commit is an id or its beginning, a branch, or a tag.
    """
    from perago.asking.differences import differing_files

    with before_start(), parse_address(repo).open() as repository:
        old, new = repository.resolve(before), repository.resolve(after)
        found = list(differing_files(repository, old, new, paths=paths, key=key))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        tell(f"{each.kind:9}{printable(each.path)}  {_sizes(each)}{_rows(each.rows)}")
    if not found:
        note("They do not differ there." if paths else "They do not differ.")


@click.command()
@click.argument("names", metavar="COMMIT|RUN...", nargs=-1, required=True)
@repo_option
@click.option("--all", "all_facts", is_flag=True, help="Show what is equal, too.")
@json_option
def compare(names: tuple[str, ...], repo: str, all_facts: bool, as_json: bool) -> None:
    """Show params, results and durations of commits or runs side by side, where they differ."""
    from perago.asking.differences import MAX_COMPARED, column, rows_of
    from perago.asking.past import open_past

    if not 2 <= len(names) <= MAX_COMPARED:
        raise click.UsageError(f"Give 2 to {MAX_COMPARED} commits or runs, such as perago compare main~ main.")
    with before_start():
        address = parse_address(repo)
        runs = local_engine(address)
        with open_past(address) as past:
            columns = [column(past, runs, name) for name in names]
    rows = rows_of(columns)
    if as_json:
        print_json([{"name": each.name, "commit": each.commit, "facts": dict(each.facts)} for each in columns])
        return
    shown = [(name, values) for name, values, differ in rows if differ or all_facts]
    table = [["", *(each.name for each in columns)], ["commit", *((each.commit or "-")[:_SHORT] for each in columns)]]
    table += [[name, *map(_cell, values)] for name, values in shown]
    widths = [max(map(len, cells)) for cells in zip(*([printable(cell) for cell in row] for row in table), strict=True)]
    for row in table:
        tell("  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(text, _CELL)


def _sizes(each: FileDifference) -> str:
    sizes = [size_text(size) for size in (each.before, each.after) if size is not None]
    return " -> ".join(sizes)


def _rows(rows: RowDifference | None) -> str:
    if rows is None:
        return ""
    counts = {"added": rows.added, "removed": rows.removed, "changed": rows.changed}
    parts = [f"{count_text(count, 'row')} {word}" for word, count in counts.items() if count]
    parts += [f"column {printable(name)} added" for name in rows.columns_added]
    parts += [f"column {printable(name)} removed" for name in rows.columns_removed]
    return f": {', '.join(parts)}" if parts else ""
