"""`perago runs`: list recorded runs."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from perago.cli.arguments import repo_or_none_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell, terminal_columns
from perago.running.history import DEFAULT_LISTED, runs_of
from perago.running.text import json_line, printable, reason_within, shorten
from perago.values.record import WITHIN
from perago.values.stamps import MAX_STORED_BYTES

if TYPE_CHECKING:
    from perago.engines.local import RunSummary, TaskSummary

_SHORT = 12
_NOTHING_ON_CONDUCTOR = (
    "The Conductor server has no workflows, or no index of them. `perago submit` starts one, and `perago watch ID` "
    "shows it."
)


@click.command()
@repo_or_none_option
@click.option(
    "-n",
    "--limit",
    metavar="COUNT",
    type=click.IntRange(min=1),
    default=DEFAULT_LISTED,
    show_default=True,
    help="Show at most this many runs, newest first.",
)
@click.option("--conductor", "on_conductor", is_flag=True, help="List the workflows on the Conductor server instead.")
@json_option
@click.pass_context
def command(context: click.Context, repo: str | None, limit: int, on_conductor: bool, as_json: bool) -> None:
    """List recorded runs with their input, params, output and status.

    \b
    The status is one of
      running
      COMPLETED
      FAILED
      FAILED_WITH_TERMINAL_ERROR: a retry cannot help
      CANCELED (a workflow: TERMINATED)
      killed: the process ended without recording a status
      unreadable: the record is damaged

    With --conductor, list the workflows in the server's index instead, of all repositories, with the server's statuses.
    """
    if on_conductor and context.get_parameter_source("repo") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--conductor lists the workflows of all repositories; leave --repo out")
    with before_start():
        summaries = _on_conductor(limit + 1) if on_conductor else runs_of(repo)
        shown = list(itertools.islice(summaries, limit + 1))
    if as_json:
        print_json([as_object(summary) for summary in shown[:limit]])
        return
    if not shown:
        note(_NOTHING_ON_CONDUCTOR if on_conductor else _nothing_to_show(repo))
    columns = terminal_columns(sys.stdout)
    for summary in shown[:limit]:
        for line in describe_run(summary):
            tell(shorten(line, columns))
    if len(shown) > limit:
        note(f"There are older runs; -n {limit * 5} shows more of them.")


def _on_conductor(count: int) -> Iterator[RunSummary]:
    from perago.cli.conductor import open_conductor
    from perago.running.conductor import summary_of
    from perago.settings import load_run_config

    with open_conductor(load_run_config("perago", probe_workspace_root=False)) as engine:
        yield from map(summary_of, engine.newest_workflows(count))


def _nothing_to_show(repo: str | None) -> str:
    if repo is not None:
        return "There are no runs yet. `perago run` creates one."
    return "There are no runs of tasks without a workspace. --repo REPO lists the runs on a repository."


def describe_run(summary: RunSummary) -> list[str]:
    """A run as lines of text."""
    from perago.running.task_state import is_unseen

    unseen = [task for task in summary.tasks if is_unseen(task.task_name, task.status)]
    count = summary.tries - sum(task.tries for task in unseen)
    tries = f", {count} tries" if count > 1 else ""
    took = "" if summary.duration is None else f", {summary.duration:.1f} s"
    cached = _cached(summary.cached_from)
    lines = [f"{summary.run_id}  {summary.status:<10}  {printable(summary.task_name)}{tries}{took}{cached}"]
    if summary.input_ref is not None:
        output = f" -> {summary.output_ref[:_SHORT]}" if summary.output_ref else ""
        lines.append(f"    {printable(summary.branch or '')}  {summary.input_ref[:_SHORT]}{output}")
    if summary.params:
        text = json_line(summary.params)
        lines.append(f"    params {text if len(text) <= MAX_STORED_BYTES else '(too large to show; see --json)'}")
    codes = (summary.code, *(task.code for task in summary.tasks))
    lines += [f"    code {printable(text)}" for text in dict.fromkeys(code.text for code in codes if code is not None)]
    if summary.run_branch is not None:
        lines.append(f"    on branch {summary.run_branch}")
    lines += [_describe_task(task) for task in summary.tasks if task not in unseen]
    if summary.reason is not None:
        lines.append(f"    {printable(reason_within(summary.task_name, summary.reason))}")
    return lines


def _describe_task(task: TaskSummary) -> str:
    tries = f", {task.tries} tries" if task.tries > 1 else ""
    took = "" if task.duration is None else f", {task.duration:.1f} s"
    ref = "" if task.output_ref is None else f", {task.output_ref[:_SHORT]}"
    *around, name = task.reference_task_name.split(WITHIN)
    return f"    {'  ' * len(around)}{task.status:<10}  {printable(name)}{tries}{took}{_cached(task.cached_from)}{ref}"


def _cached(commit: str | None) -> str:
    return "" if commit is None else f", cached from {printable(commit[:_SHORT])}"


def as_object(summary: RunSummary) -> dict[str, Any]:
    """A run as JSON."""
    from dataclasses import asdict

    started = summary.started
    return {**asdict(summary), "started": None if started is None else started.astimezone(UTC).isoformat()}
