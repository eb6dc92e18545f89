"""The `--repo` argument: which repository of which store it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perago.errors import RuntimeConfigError

if TYPE_CHECKING:
    from perago.cli.address import Address
    from perago.repositories import Repository

DEFAULT_BRANCH = "main"

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")

repo_option = click.option(
    "--repo",
    metavar="REPO",
    required=True,
    help="The repository: lakefs://NAME, or the path of a bare git repository.",
)
branch_option = click.option("--branch", metavar="NAME", default=DEFAULT_BRANCH, show_default=True, help="The branch.")


def parse_address(argument: str) -> Address:
    """What a `--repo` argument names.

    Raises:
        RuntimeConfigError: a kind of repository that there is none of, or no name for one.
    """
    match = _SCHEME.match(argument)
    if match is None:
        from perago.cli.git_address import GitAddress

        return GitAddress(Path(argument).expanduser().absolute())
    if match["scheme"].lower() == "lakefs":
        from perago.cli.lakefs_address import LakeFSAddress

        return LakeFSAddress.parse(argument[match.end() :])
    raise RuntimeConfigError(
        f"--repo takes lakefs://NAME or the path of a bare git repository, no {match['scheme']}:// address; clone it "
        f"first, with `git clone --bare`"
    )


def head_of(repository: Repository, branch: str, address: Address) -> str:
    """Full id of the commit that a branch points at.

    Raises:
        BranchNotFoundError: there is no such branch; says which there are, and how to make one.
    """
    from perago.errors import BranchNotFoundError

    head = repository.branch_head(branch)
    if head is not None:
        return head
    branches = repository.branches()
    there = f"it has {', '.join(map(repr, branches))}" if branches else "it has none yet"
    importing = shlex.join(["perago", "import", "DIR", "--repo", address.argument, "--branch", branch])
    raise BranchNotFoundError(
        f"repository {address.argument} has no branch {branch!r}; {there}. Make it from a directory with "
        f"`{importing}`, or from a commit with `{address.branch_from_commit(branch)}`"
    )
