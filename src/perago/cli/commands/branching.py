"""`perago branch` and `perago revert`: what a person does to a branch besides running tasks."""

from __future__ import annotations

import click

from perago.cli.arguments import branch_option, refuse_run_branch, repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, print_json, tell
from perago.errors import HeadMovedError, RuntimeConfigError
from perago.running.progress import describe_counts
from perago.running.repos.address import parse_address
from perago.running.text import count_text

_SHORT = 12


@click.command()
@click.argument("name")
@repo_option
@click.option("--from", "ref", metavar="REF", required=True, help="A branch, a tag, or a commit.")
@json_option
def branch(name: str, repo: str, ref: str, as_json: bool) -> None:
    """Create a branch at a commit, to try something on: `perago run --branch NAME` then publishes there.

    \b
      perago branch trial --from main --repo data.git
    """
    refuse_run_branch(name)
    with before_start(), parse_address(repo).open() as repository:
        commit = repository.resolve(ref)
        try:
            repository.create_branch(name, commit)
        except HeadMovedError:
            head = repository.branch_head(name)
            raise RuntimeConfigError(
                f"branch {name!r} already exists, at commit {(head or '')[:_SHORT]}; choose another name"
            ) from None
    if as_json:
        print_json({"branch": name, "commit": commit})
    else:
        tell(f"Branch {name} begins at commit {commit}.")


@click.command()
@click.argument("what", metavar="RUN|COMMIT")
@repo_option
@branch_option
@click.option("--reason", metavar="TEXT", default="", help="Why; it is kept in the history.")
@json_option
def revert(what: str, repo: str, branch: str, reason: str, as_json: bool) -> None:
    """Undo what a run, or one commit, has changed on a branch: its files get the content that they had before.

    That is a publication of its own, so it can be undone, too. Nothing is done if somebody has changed one of the files
    since. No task with a cache takes the results of these commits again.
    """
    from perago.asking.past import open_past
    from perago.asking.revert import revert as undo

    refuse_run_branch(branch)
    with before_start(), open_past(parse_address(repo)) as past:
        done = undo(past, branch, what, reason.strip())
    changes = {name: len(getattr(done.changes, name)) for name in ("added", "modified", "deleted")}
    if as_json:
        print_json({"commit": done.commit, "reverts": list(done.reverts), "changes": changes})
        return
    undone = count_text(len(done.reverts), "commit")
    tell(f"Published commit {done.commit} on branch {branch}, which undoes {undone}: {describe_counts(changes)}.")
