"""`perago fence`: the publish fence of a branch on a lakeFS server, by hand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell
from perago.cli.repos.address import branch_option, parse_address, repo_option

if TYPE_CHECKING:
    from perago.cli.repos.lakefs import LakeFSAddress

FOUND = 1


@click.command()
@click.argument("action", type=click.Choice(["check", "install"]))
@repo_option
@branch_option
@json_option
def command(action: str, repo: str, branch: str, as_json: bool) -> int:
    """Check the publish fence of a branch on a lakeFS server, or put it there.

    The fence is a small action file that the server runs when a branch is to be moved: it lets a publication move the
    branch from the commit that it was made for, and from no other. Every publication brings it along, so nobody needs
    to install it; who looks after the server can do so before the first one.

    Exit code of `check` 0: the fence is there, and the server heeds it; 1: not so; 2: the server could not be asked.
    """
    address = _lakefs_address(repo)
    return _check(address, branch, as_json=as_json) if action == "check" else _install(address, branch, as_json=as_json)


def _check(address: LakeFSAddress, branch: str, *, as_json: bool) -> int:
    with before_start(), address.connect(fence="exact") as repository:  # 1 is for what was found
        report = repository.check_fence(branch)
    is_exact = report.file == "present" and report.is_heeded
    if as_json:
        print_json(
            {
                "exact": is_exact,
                "head": report.head,
                "file": report.file,
                "heeded": report.is_heeded,
                "why": report.why,
            }
        )
    else:
        installing = shlex.join(["perago", "fence", "install", "--repo", address.argument, "--branch", branch])
        files = {
            "present": "holds the fence",
            "missing": f"does not hold the fence; the next publication brings it along, or `{installing}` puts it "
            f"there",
            "different": "holds another file in the fence's place, which the next publication replaces",
        }
        tell(f"Branch {branch} of {address.argument} {files[report.file]}.")
        if report.is_heeded:
            tell("The server heeds it: it refused a forbidden merge on a scratch branch.")
        else:
            note(f"The server does not heed it: {report.why}")
    return 0 if is_exact else FOUND


def _install(address: LakeFSAddress, branch: str, *, as_json: bool) -> int:
    with address.connect(fence="exact") as repository:
        with before_start():
            repository.check()
        commit = repository.install_fence(branch)
        head = commit or repository.branch_head(branch)
    if as_json:
        print_json({"installed": commit is not None, "head": head})
    elif commit is None:
        tell(f"Branch {branch} of {address.argument} holds the fence already.")
    else:
        tell(f"Put the fence on branch {branch} of {address.argument}: commit {commit}")
    return 0


def _lakefs_address(repo: str) -> LakeFSAddress:
    from perago.cli.repos.lakefs import LakeFSAddress

    address = parse_address(repo)
    if not isinstance(address, LakeFSAddress):
        raise click.UsageError(
            f"--repo {repo}: only a lakeFS repository has such a fence. A git repository needs none: its references "
            f"move by compare-and-swap"
        )
    return address
