"""`perago blame` and `perago lineage`: where files come from, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import A_COMMIT, branch_option, repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell
from perago.errors import TaskInputError
from perago.running.repos.address import parse_address
from perago.running.text import count_text, printable

if TYPE_CHECKING:
    from perago.asking.blame import Origin
    from perago.asking.lineage import Link, MadeFrom
    from perago.asking.past import Past
    from perago.ports import CommitEntry

_SHORT = 12
MAX_LISTED = 3
"""Files that are named for people; with `--json` all are."""

_ref_option = click.option(
    "--ref", metavar="COMMIT", help=f"The commit to start from: {A_COMMIT}.  [default: the branch's head]"
)


@click.command()
@click.argument("path")
@repo_option
@branch_option
@_ref_option
@json_option
def blame(path: str, repo: str, branch: str, ref: str | None, as_json: bool) -> None:
    """Say for each file below PATH, or that a pattern matches, which commit made it: of which task and run.

    \b
      perago blame 'models/**' --repo data.git --branch main
    """
    from perago.asking.past import open_past

    with before_start(), open_past(parse_address(repo)) as past:
        found = _origins(past, _start(past, branch, ref), path)
    if as_json:
        print_json([_origin_object(origin) for origin in found])
        return
    for origin in found:
        whole = "" if origin.whole is None else f", via {origin.whole.id[:_SHORT]}"
        tell(f"{_commit_text(origin.entry)}{whole}  {printable(origin.path)}")


@click.command()
@click.argument("what", metavar="PATH|COMMIT")
@repo_option
@branch_option
@_ref_option
@click.option("--downstream", is_flag=True, help="Show what was made from it.  [default: show its sources]")
@json_option
def lineage(what: str, repo: str, branch: str, ref: str | None, downstream: bool, as_json: bool) -> None:
    """Show which files and commits a file or commit came from, and where those came from; or what came from it.

    A commit was made from the commits whose files its task could read.
    """
    from perago.asking.lineage import made_from, made_of
    from perago.asking.past import open_past

    with before_start(), open_past(parse_address(repo)) as past:
        commit, paths = _subject(past, _start(past, branch, ref), what)
        found = made_of(past, commit, paths) if downstream else made_from(past, commit)
    if as_json:
        print_json([_made_object(made) for made in found])
        return
    for made in found:
        tell(_commit_text(made.entry))
        for link in made.sources:
            tell(f"    from {link.entry.id[:_SHORT]}  {_files_text(link)}")
        if made.unread:
            tell(f"    and {count_text(made.unread, 'more file')}")
    if downstream and not found:
        note(f"Nothing was made from it on any branch of {repo}.")


def _start(past: Past, branch: str, ref: str | None) -> str:
    return past.head(branch) if ref is None else past.resolve(ref)


def _subject(past: Past, start: str, what: str) -> tuple[str, Sequence[str] | None]:
    """The commit that somebody asks for, or the one that made a file, with the file."""
    from perago.asking.paths import pattern_of
    from perago.errors import StoreError

    if past.repository.find_file(start, pattern_of(what)) is None:
        try:
            return past.resolve(what), None
        except StoreError:
            pass
    [*found] = _origins(past, start, what)
    newest = max(found, key=lambda origin: origin.entry.time)
    return newest.entry.id, [origin.path for origin in found if origin.entry.id == newest.entry.id]


def _origins(past: Past, start: str, path: str) -> list[Origin]:
    from perago.asking.blame import MAX_FILES, origins
    from perago.asking.paths import pattern_of
    from perago.workspace.patterns import Selection

    selection = Selection([pattern_of(path)])
    paths = [name for name in past.repository.files(start, "/") if selection.selects(name)]
    if not paths:
        raise TaskInputError(
            f"commit {start[:_SHORT]} has no file that matches {printable(path)}. `perago export` writes its files to "
            f"a directory"
        )
    if len(paths) > MAX_FILES:
        note(f"These are the first {MAX_FILES:,} of {len(paths):,} files.")
    return origins(past, start, paths[:MAX_FILES])


def _commit_text(entry: CommitEntry) -> str:
    when = entry.time.astimezone().strftime("%Y-%m-%d %H:%M")
    if entry.stamp is None:
        return f"{entry.id[:_SHORT]}  {when}  {printable(entry.author)}: {printable(entry.subject)}"
    cached = "" if entry.stamp.cached_from is None else f", cached from {entry.stamp.cached_from[:_SHORT]}"
    return f"{entry.id[:_SHORT]}  {when}  {printable(entry.stamp.task)}, run {_run(entry)}{cached}"


def _run(entry: CommitEntry) -> str:
    return "" if entry.stamp is None else printable(entry.stamp.logical_task[0])


def _files_text(link: Link) -> str:
    shown = ", ".join(map(printable, link.paths[:MAX_LISTED]))
    more = len(link.paths) - MAX_LISTED
    return f"{shown}, and {count_text(more, 'more file')}" if more > 0 else shown


def _commit_object(entry: CommitEntry) -> dict[str, Any]:
    stamp = entry.stamp
    return {
        "commit": entry.id,
        "time": entry.time.astimezone(UTC).isoformat(),
        "author": entry.author,
        "subject": entry.subject,
        "task": None if stamp is None else stamp.task,
        "run": None if stamp is None else stamp.logical_task[0],
        "input_ref": None if stamp is None else stamp.input_ref,
        "cached_from": None if stamp is None else stamp.cached_from,
    }


def _origin_object(origin: Origin) -> dict[str, Any]:
    whole = None if origin.whole is None else origin.whole.id
    return {"path": origin.path, **_commit_object(origin.entry), "brought_by": whole}


def _made_object(made: MadeFrom) -> dict[str, Any]:
    sources = [{"commit": link.entry.id, "paths": list(link.paths)} for link in made.sources]
    return {**_commit_object(made.entry), "sources": sources, "unread": made.unread}
