"""`perago distrust`: use a result no more."""

from __future__ import annotations

import click

from perago.cli.arguments import branch_option, refuse_run_branch, repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, print_json, tell
from perago.running.repos.address import parse_address
from perago.running.text import printable


@click.command()
@click.argument("commit")
@repo_option
@branch_option
@click.option("--reason", metavar="TEXT", help="Why; it is kept in the history. Needed, except with --undo.")
@click.option("--undo", is_flag=True, help="Use the result again after all.")
@json_option
def command(commit: str, repo: str, branch: str, reason: str | None, *, undo: bool, as_json: bool) -> None:
    """Say that the result of COMMIT is wrong: no task with a cache takes it again, on any host.

    \b
      perago distrust 1f2e3d4c --reason "the sensor was broken" --repo data.git --branch main

    The branch gets an empty commit that says so. The result itself, and what others have made from it, stays as it is.
    """
    from perago.running.distrust import distrust

    if not undo and not (reason or "").strip():
        raise click.UsageError("Missing option '--reason'.")
    refuse_run_branch(branch)
    with before_start():
        seal = distrust(parse_address(repo), branch, commit, (reason or "").strip(), undo=undo)
    if as_json:
        print_json({"commit": seal})
    else:
        done = "Trusted the result of {} again" if undo else "Distrusted the result of {}"
        tell(f"{done.format(printable(commit))}; recorded as commit {seal} on branch {branch}.")
