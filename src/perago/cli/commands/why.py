"""`perago why`: say what a run would compute, and why."""

from __future__ import annotations

from typing import Any

import click

from perago.cli.arguments import A_COMMIT, RunArguments, configured_repo, pairs_option, params_option
from perago.cli.failure import before_start
from perago.cli.loading import tasks_option, workflows_option
from perago.cli.output import json_option, print_json, tell


@click.command()
@click.argument("module", metavar="MODULE[:FUNCTION]")
@params_option
@pairs_option
@click.option("--repo", metavar="REPO", default=configured_repo, help="The repository.  [default: PERAGO_REPO]")
@click.option("--branch", metavar="NAME", help="The branch whose head would be the input.  [default: PERAGO_BRANCH]")
@click.option(
    "--ref",
    metavar="COMMIT",
    help=f"The commit that would be the input: {A_COMMIT}.  [default: the branch's head]",
)
@tasks_option
@workflows_option
@json_option
def command(as_json: bool, **given: Any) -> None:
    """Say what `perago run` would do now with a task that has a cache, or with each task of a workflow: the result that
    it would take, or what has changed.

    \b
      perago why app.features:build --params @p.json --repo data.git --branch main
      perago why app.pipeline:nightly --repo data.git --branch main

    Runs nothing and changes nothing. A task that depends on one that would run cannot be predicted.
    """
    from perago.cli.run.foretold import document, foretold_of, lines_of, request_of, why_lines
    from perago.running.request import RunRequest
    from perago.running.why import as_json as as_object
    from perago.running.why import outlook_of

    with before_start():
        request = request_of(RunArguments(as_json=as_json, **given))
        if isinstance(request, RunRequest):
            outlook = outlook_of(request)
            shown, lines = as_object(outlook), lines_of(outlook)
        else:
            found = foretold_of(request)
            shown, lines = document(request, found), list(why_lines(found))
    if as_json:
        print_json(shown)
        return
    for line in lines:
        tell(line)
