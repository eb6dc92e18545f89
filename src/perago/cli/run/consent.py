"""Consent to replace what has been published."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from perago.cli.output import note, say
from perago.running.text import printable

_SHORT_COMMIT = 12


@dataclass(frozen=True)
class Replaced:
    """A commit that is replaced when its task has run again."""

    reference_task_name: str
    branch: str
    ref: str


def expect_consent(replaced: Sequence[Replaced], *, yes: bool) -> None:
    """List what will be replaced, and ask for consent.

    Args:
        yes: do not ask.

    Raises:
        click.UsageError: nobody can be asked.
        click.Abort: the answer is no.
    """
    if not replaced:
        return
    note("These tasks run again and replace what they have published:")
    for one in replaced:
        name, branch = printable(one.reference_task_name), printable(one.branch)
        say(f"  {name}: commit {one.ref[:_SHORT_COMMIT]} on branch {branch}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("this replaces published commits. Add --yes to do it without being asked")
    click.confirm("Run them again?", abort=True, err=True)
