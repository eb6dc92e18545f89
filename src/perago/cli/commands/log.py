"""`perago log`: show the history of a branch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import branch_option, repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell, terminal_columns
from perago.running.history import DEFAULT_LISTED, log_of, published_run
from perago.running.progress import describe_counts
from perago.running.repos.address import parse_address
from perago.running.text import json_line, printable, shorten

if TYPE_CHECKING:
    from perago.asking.log import UndoneBy
    from perago.ports import LogEntry
    from perago.stores.provider import RepositoryAddress
    from perago.values.history import Stamp
    from perago.workflows.transaction import Published

_SHORT = 12


@click.command()
@repo_option
@branch_option
@click.option(
    "-n",
    "--limit",
    metavar="COUNT",
    type=click.IntRange(min=1),
    default=DEFAULT_LISTED,
    show_default=True,
    help="Show at most this many commits.",
)
@click.option(
    "--path", "paths", metavar="PATTERN", multiple=True, help="Only commits that changed a matching file. Repeatable."
)
@click.option("--task", metavar="NAME", help="Only commits of this task or transactional workflow.")
@click.option("--run", metavar="ID", help="Only commits of this run or instance.")
@click.option("--author", metavar="NAME", help="Only commits whose author's name contains this.")
@click.option(
    "--since", metavar="TIME", help="Only commits since this time: a date, a time, or how long ago, such as 7d."
)
@click.option("--until", metavar="TIME", help="Only commits up to this time; written as for --since.")
@json_option
def command(repo: str, branch: str, limit: int, as_json: bool, **given: Any) -> None:
    """Show the history of a branch: what each task published, its input, params and result.

    A seal is an empty commit that says which commit a task completed with.
    """
    with before_start():
        address = parse_address(repo)
        listed = _wanted(address, branch, limit, given) if any(given.values()) else _newest(address, branch, limit)
    if not listed and any(given.values()):
        note(f"No commit of branch {branch} matches the filters; without them, all are shown.")
    if as_json:
        print_json([{**as_object(entry), **by._asdict()} for entry, by in listed])
        return
    columns = terminal_columns(sys.stdout)
    for entry, by in listed:
        for line in (*describe_entry(entry), *_undone(by)):
            tell(shorten(line, columns))
    entries = [entry for entry, _ in listed]
    if entries and entries[-1].parents and (len(entries) == limit or not any(given.values())):
        note(f"There are older commits; -n {limit * 5} shows more of them.")


def _newest(address: RepositoryAddress, branch: str, limit: int) -> list[tuple[LogEntry, UndoneBy]]:
    from perago.asking.log import Undone

    undone = Undone()
    return [(entry, undone.by(entry.id, entry.stamp)) for entry in log_of(address, branch, limit)]


def _wanted(
    address: RepositoryAddress, branch: str, limit: int, given: Mapping[str, Any]
) -> list[tuple[LogEntry, UndoneBy]]:
    from perago.asking.log import Wanted, as_log_entry, read_time, steps_of
    from perago.asking.past import open_past

    now = datetime.now(UTC)
    since, until = (None if given[name] is None else read_time(given[name], now) for name in ("since", "until"))
    wanted = Wanted(**{**given, "since": since, "until": until})
    with open_past(address) as past:
        found = islice(steps_of(past, past.head(branch), wanted), limit)
        return [(as_log_entry(step), by) for step, by in found]


def _undone(by: UndoneBy) -> list[str]:
    found = (("reverted", by.reverted_by), ("distrusted", by.distrusted_by))
    return [f"    {word} by {printable(commit[:_SHORT])}" for word, commit in found if commit is not None]


def describe_entry(entry: LogEntry) -> list[str]:
    """A commit as lines of text."""
    when = entry.time.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    head = f"{entry.id[:_SHORT]}  {when}"
    stamp = entry.stamp
    if stamp is None:
        return [f"{head}  {printable(entry.author)}: {printable(entry.subject)}", f"    files   {_counts(entry)}"]
    task = printable(stamp.task)
    if stamp.reverts:
        reason = printable(str((stamp.result or {}).get("reason") or ""))
        undone = ", ".join(printable(commit[:_SHORT]) for commit in stamp.reverts)
        return [f"{head}  reverted: {undone}{f': {reason}' if reason else ''}", f"    files   {_counts(entry)}"]
    for commit, word in ((stamp.distrusts, "distrusted"), (stamp.trusts, "trusted again")):
        if commit is not None:
            reason = printable(str((stamp.result or {}).get("reason") or ""))
            return [f"{head}  {word}: the result of {printable(commit[:_SHORT])}{f': {reason}' if reason else ''}"]
    if stamp.completes is not None:
        return [f"{head}  {task} sealed: completed with {stamp.completes[:_SHORT]}"]
    nth = f", try {stamp.retry_count + 1}" if stamp.retry_count else ""
    run = published_run(stamp)
    what = task if run is None else f"workflow {printable(run.workflow)}"
    within = "" if stamp.path is None else f", {printable(stamp.path)}"
    lines = [f"{head}  {what}, run {printable(stamp.logical_task[0])}{within}{nth}"]
    lines.append(f"    from    {stamp.input_ref[:_SHORT]}{_replaced(stamp)}")
    lines += [] if stamp.cached_from is None else [f"    cached  from {printable(stamp.cached_from[:_SHORT])}"]
    if run is None:
        lines.append(f"    params  {json_line(stamp.params)}")
        lines.append(f"    result  {json_line(stamp.result)}")
        lines += [f"    workflow params {json_line(params)}" for params in _workflow_params(stamp)]
    else:
        lines += [f"    params  {json_line(params)}" for params in _workflow_params(stamp)]
        lines += _tasks(run)
    lines += [] if stamp.code_version is None else [f"    code    {printable(stamp.code_version.text)}"]
    lines.append(f"    files   {_counts(entry)}, in {stamp.duration_ms / 1000:.1f} s by {printable(stamp.worker)}")
    return lines


def _workflow_params(stamp: Stamp) -> list[Mapping[str, Any] | None]:
    """The params of the commit's workflow; None in place of large ones. Empty if it has none, or they are unknown."""
    return [] if stamp.workflow_params_digest is None else [stamp.workflow_params]


def _tasks(run: Published) -> list[str]:
    older = run.commits - len(run.tasks)
    shown = [f"    task    {printable(one.ref[:_SHORT])}  {printable(one.task)}" for one in run.tasks]
    return [*([f"    task    … {older} older ones"] if older else []), *shown]


def as_object(entry: LogEntry) -> dict[str, Any]:
    """A commit as JSON."""
    from dataclasses import asdict

    return {
        "commit": entry.id,
        "parents": list(entry.parents),
        "time": entry.time.astimezone(UTC).isoformat(),
        "author": entry.author,
        "subject": entry.subject,
        "added": entry.added,
        "modified": entry.modified,
        "deleted": entry.deleted,
        "kind": entry.kind,
        "stamp": None if entry.stamp is None else asdict(entry.stamp),
    }


def _replaced(stamp: Stamp) -> str:
    if not stamp.abandoned:
        return ""
    return f", replacing {', '.join(commit[:_SHORT] for commit in stamp.abandoned)}"


def _counts(entry: LogEntry) -> str:
    return describe_counts({"added": entry.added, "modified": entry.modified, "deleted": entry.deleted})
