"""`perago why`: say what a run would compute, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import RunArguments, configured_repo, pairs_option, params_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, print_json, tell
from perago.running.text import printable

if TYPE_CHECKING:
    from perago.running.why import Outlook

MAX_LISTED = 20
"""Differences that are listed for people; with `--json` all are."""
_SHORT = 12


@click.command()
@click.argument("module", metavar="MODULE[:FUNCTION]")
@params_option
@pairs_option
@click.option("--repo", metavar="REPO", default=configured_repo, help="The repository.  [default: PERAGO_REPO]")
@click.option("--branch", metavar="NAME", help="The branch whose head would be the input.  [default: PERAGO_BRANCH]")
@click.option("--ref", metavar="COMMIT", help="The commit that would be the input.  [default: the branch's head]")
@json_option
def command(as_json: bool, **given: Any) -> None:
    """Say what `perago run` of a task with a cache would do now: the result that it would take, or what has changed.

    \b
      perago why app.features:build --params @p.json --repo data.git --branch main

    Runs nothing and changes nothing.
    """
    from perago.cli.loading import load_task
    from perago.cli.run.prepare import prepare
    from perago.running.why import outlook

    arguments = RunArguments(as_json=as_json, **given)
    with before_start():
        found = outlook(prepare(arguments, load_task(given["module"])))
    if as_json:
        print_json({**asdict(found), "differences": [asdict(each) for each in found.differences]})
        return
    for line in _lines(found):
        tell(line)


def _lines(found: Outlook) -> list[str]:
    if found.takes is not None:
        return [f"It would take the result of commit {found.takes}."]
    since = "" if found.since is None else f" Since commit {found.since[:_SHORT]}:"
    told = [f"The body would run{f': {printable(found.why)}' if found.why else ''}.{since}"]
    told += [f"  {printable(each.text)}" for each in found.differences[:MAX_LISTED]]
    more = len(found.differences) - MAX_LISTED
    return [*told, *([f"  … and {more} more"] if more > 0 else [])]
