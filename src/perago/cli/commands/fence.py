"""`perago fence`: check or install the publish fence of a lakeFS branch."""

from __future__ import annotations

import shlex

import click

from perago.cli.arguments import branch_option, refuse_run_branch, repo_option
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell
from perago.running.repos.address import parse_address
from perago.stores.provider import RepositoryAddress

FOUND = 1


@click.command()
@click.argument("action", type=click.Choice(["check", "install"]))
@repo_option
@branch_option
@json_option
def command(action: str, repo: str, branch: str, as_json: bool) -> int:
    """Check or install the publish fence of a branch on a lakeFS server.

    The fence is a small action file that the server runs before it moves a branch. It lets a publication move the
    branch only from the commit that the publication was made for. Every publication installs it, so that `install` is
    only needed to have it before the first one.

    Exit codes of `check`: 0 the fence is installed and the server applies it, 1 it is not, 2 the server could not be
    asked.
    """
    address = parse_address(repo)
    return _check(address, branch, as_json=as_json) if action == "check" else _install(address, branch, as_json=as_json)


def _check(address: RepositoryAddress, branch: str, *, as_json: bool) -> int:
    with before_start(), address.open_fenced() as repository:  # exit code 1 is for a finding
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
            "missing": f"does not hold the fence; the next publication or `{installing}` installs it",
            "different": "holds another file in the fence's place; the next publication replaces it",
        }
        tell(f"Branch {branch} of {address.argument} {files[report.file]}.")
        if report.is_heeded:
            tell("The server applies it: it refused a forbidden merge on a scratch branch.")
        else:
            note(f"The server does not apply it: {report.why}")
    return 0 if is_exact else FOUND


def _install(address: RepositoryAddress, branch: str, *, as_json: bool) -> int:
    refuse_run_branch(branch)
    with address.open_fenced() as repository:
        with before_start():
            repository.check()
        commit = repository.install_fence(branch)
        head = commit or repository.branch_head(branch)
    if as_json:
        print_json({"installed": commit is not None, "head": head})
    elif commit is None:
        tell(f"Branch {branch} of {address.argument} already holds the fence.")
    else:
        tell(f"Installed the fence on branch {branch} of {address.argument}: commit {commit}")
    return 0
