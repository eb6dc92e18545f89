"""`perago export`: write the files of a commit to a directory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

import click

from perago.cli.arguments import A_COMMIT, configured_branch, repo_option
from perago.cli.commands.importing import workspace_spec
from perago.cli.failure import before_start
from perago.cli.output import json_option, print_json, tell
from perago.running.repos.address import DEFAULT_BRANCH, head_of, parse_address
from perago.running.text import count_text


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@repo_option
@click.option(
    "--branch", metavar="NAME", help=f"Export the head of this branch.  [default: PERAGO_BRANCH, or {DEFAULT_BRANCH}]"
)
@click.option("--ref", metavar="COMMIT", help=f"The commit to export: {A_COMMIT}.  [default: the branch's head]")
@click.option("--prefix", metavar="PREFIX", default="/", help="Export this directory of the repository.")
@json_option
def command(directory: Path, repo: str, branch: str | None, ref: str | None, prefix: str, as_json: bool) -> None:
    """Write the files of a commit to DIRECTORY, which must be new or empty."""
    from perago.cli.progress import open_display
    from perago.workspace.empty_directory import empty_directory

    if branch is not None and ref is not None:
        raise click.UsageError("give --branch or --ref, not both")
    spec = workspace_spec(prefix)
    if directory.is_dir() and any(directory.iterdir()):
        raise click.UsageError(f"{directory} is not empty; give a new directory")
    address = parse_address(repo)
    with ExitStack() as stack:
        display = stack.enter_context(open_display())
        with before_start():
            repository = stack.enter_context(address.open(display))
            if ref is None:
                commit = head_of(repository, branch or configured_branch() or DEFAULT_BRANCH, address)
            else:
                commit = repository.resolve(ref)
            stack.enter_context(empty_directory(directory))
            _expect_writable(directory)
        files = repository.export(commit, spec.prefix, directory)
    if as_json:
        print_json({"commit": commit, "files": files, "directory": str(directory)})
    else:
        tell(f"Exported {count_text(files, 'file')} of commit {commit} to {directory}")


def _expect_writable(directory: Path) -> None:
    """Check before anything is fetched.

    Raises:
        UsageError: no file can be created in it.
    """
    try:
        with TemporaryFile(dir=directory):
            pass
    except OSError as exc:
        raise click.UsageError(f"{directory} cannot be written: {exc.strerror}. Give another directory") from None
