"""`perago import`: commit the files of a directory to a branch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from perago.cli.arguments import branch_option, refuse_run_branch, repo_option
from perago.cli.failure import before_start
from perago.cli.output import MAX_LISTED, json_option, note, print_json, result_on_stdout, tell
from perago.running.repos.address import parse_address
from perago.running.text import count_text, printable, size_text
from perago.stores.provider import RepositoryAddress
from perago.workspace.patterns import Selection

if TYPE_CHECKING:
    from perago.ports import Repository
    from perago.values.models import Changes
    from perago.values.spec import WorkspaceSpec


@click.command("import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@repo_option
@branch_option
@click.option("--prefix", metavar="PREFIX", default="/", help="Import into this directory of the repository.")
@click.option(
    "--storage-namespace",
    metavar="URI",
    help="Where a lakeFS server keeps the objects of a new repository, such as s3://BUCKET/PATH.",
)
@click.option(
    "--exclude",
    metavar="PATTERN",
    multiple=True,
    help="Leave out this path or pattern, relative to DIRECTORY; on the branch it stays unchanged. Repeatable.",
)
@click.option("--mirror", is_flag=True, help="Delete files below the prefix that DIRECTORY does not have.")
@click.option("--dry-run", is_flag=True, help="Show the changes without making them.")
@click.option("--message", "-m", metavar="TEXT", help="The commit's message.")
@json_option
def command(  # noqa: PLR0913 - one for each option
    directory: Path,
    repo: str,
    branch: str,
    prefix: str,
    exclude: tuple[str, ...],
    storage_namespace: str | None,
    mirror: bool,
    dry_run: bool,
    message: str | None,
    as_json: bool,
) -> None:
    """Commit the files of DIRECTORY to a branch, in one commit.

    The repository and the branch are created if they do not exist; on a lakeFS server a new repository needs
    --storage-namespace. Other files of the branch stay, such as those that tasks have published. --mirror deletes the
    files below the prefix that DIRECTORY does not have.
    """
    from perago.values.names import FOR_IMPORT
    from perago.workspace.scan import scan

    refuse_run_branch(branch)
    address = parse_address(repo)
    spec = workspace_spec(prefix, exclude)
    address.check_source(directory)
    source = directory.resolve()  # DIRECTORY itself may be a link; links inside it are refused
    watched = _Watched(spec.exclude)
    with before_start():
        files = scan(source, watched, FOR_IMPORT).files
    if not files:
        unless = " that is not excluded" if exclude else ""
        so = "the branch would be emptied below the prefix" if mirror else "there is nothing to import"
        raise click.UsageError(f"{directory} holds no file{unless}; {so}")
    _warn_of_unmatched(watched)
    address.check_names((spec.root + path for path in files), prefix=spec.root)
    target = _Target(address, branch, storage_namespace, spec, mirror)
    if dry_run:
        found = target.compare(source, files)
        _tell_dry_run(_DryRun.of(found, spec, mirror=mirror), branch, directory, as_json=as_json)
        return
    commit, head, changes = target.commit(source, message or f"Import {source.name}")
    said = {
        "commit": head,
        "changed": commit is not None,
        "branch": branch,
        "files": len(files),
        "bytes": sum(stat.size for stat in files.values()),
        "changes": changes or None,
    }
    with result_on_stdout():  # the branch has already moved
        if as_json:
            print_json(said)
        else:
            tell(_line(said))


@dataclass(frozen=True)
class _Target:
    """The branch that files are imported to."""

    address: RepositoryAddress
    branch: str
    storage_namespace: str | None
    spec: WorkspaceSpec
    mirror: bool

    def compare(self, source: Path, files: Collection[str]) -> Changes:
        """The changes that an import would make."""
        from perago.cli.progress import open_display
        from perago.values.models import Changes

        with before_start(), open_display() as display:
            if self.address.is_to_be_made(self.branch, storage_namespace=self.storage_namespace):
                return Changes(added=tuple(sorted(files)))
            with self.address.open(display) as repository:
                return repository.compare_directory(source, self.branch, spec=self.spec, mirror=self.mirror)

    def commit(self, source: Path, message: str) -> tuple[str | None, str | None, dict[str, int]]:
        """Import. Returns the commit, None if nothing changed; the branch's head; counts of changes by kind."""
        from perago.cli.progress import open_display

        with ExitStack() as stack:
            display = stack.enter_context(open_display())
            with before_start():
                made = self.address.create(self.branch, display, storage_namespace=self.storage_namespace)
                repository = stack.enter_context(made)
            commit = repository.import_directory(source, self.branch, message, spec=self.spec, mirror=self.mirror)
            head = commit or repository.branch_head(self.branch)
            return commit, head, {} if commit is None else _changes(repository, commit)


class _Watched(Selection):
    """Selection of the files that are not excluded. During a scan it notes which patterns match.

    Attributes:
        left: the compiled patterns that have matched nothing so far.
        hidden: patterns that may match below an excluded directory, which is not scanned.
    """

    __slots__ = ("hidden", "left")

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__(exclude=patterns)
        self.left = {pattern: Selection(include=[pattern]) for pattern in patterns}
        self.hidden: set[str] = set()

    def excludes(self, path: str) -> bool:
        excluded = super().excludes(path)
        if excluded and self.left:
            self.left = {pattern: alone for pattern, alone in self.left.items() if not alone.selects(path)}
        return excluded

    def enters(self, directory: str) -> bool:
        entered = super().enters(directory)
        if not entered:
            self.hidden.update(pattern for pattern, alone in self.left.items() if alone.enters(directory))
        return entered


def _warn_of_unmatched(watched: _Watched) -> None:
    """Warn about patterns that match no file."""
    for pattern in watched.left:
        besides = " besides those below excluded directories" if pattern in watched.hidden else ""
        deeper = "" if "/" in pattern else f"; '**/{pattern}' matches in directories, too"
        note(f"warning: no file{besides} matches --exclude '{pattern}'{deeper}")


@dataclass(frozen=True)
class _DryRun:
    """The effect that an import would have.

    Attributes:
        changes: (kind, name in the repository) of each file.
        kept: number of files that stay although the directory does not have them.
    """

    changes: tuple[tuple[str, str], ...]
    kept: int

    @classmethod
    def of(cls, found: Changes, spec: WorkspaceSpec, *, mirror: bool) -> Self:
        kinds = {"added": found.added, "modified": found.modified, "deleted": found.deleted if mirror else ()}
        changes = tuple((kind, spec.root + path) for kind, paths in kinds.items() for path in paths)
        return cls(changes, 0 if mirror else len(found.deleted))

    @property
    def summary(self) -> str:
        from perago.running.progress import describe_counts

        return f"Dry run: {describe_counts(Counter(kind for kind, _ in self.changes))}. Nothing was imported."


def _tell_dry_run(dry: _DryRun, branch: str, directory: Path, *, as_json: bool) -> None:
    if as_json:
        changes = [{"change": kind, "path": path} for kind, path in dry.changes]
        print_json({"dry_run": True, "branch": branch, "changes": changes, "kept": dry.kept})
    else:
        for kind, path in dry.changes[:MAX_LISTED]:
            tell(f"  {kind:<9} {printable(path)}")
        if len(dry.changes) > MAX_LISTED:
            note(f"and {len(dry.changes) - MAX_LISTED} more; --json lists them all")
    stays = f" {count_text(dry.kept, 'file')} that {directory} does not have "
    stays += "stays; --mirror deletes it." if dry.kept == 1 else "stay; --mirror deletes them."
    note(dry.summary + (stays if dry.kept else ""))


def _line(said: Mapping[str, Any]) -> str:
    """The result of `--json` as a sentence."""
    from perago.running.progress import describe_counts

    files = count_text(said["files"], "file")
    if not said["changed"]:
        return f"Nothing changed: branch {said['branch']} holds the same {files} at {said['commit']}"
    done = f" ({describe_counts(said['changes'])})" if said["changes"] else ""
    size = size_text(said["bytes"])
    return f"Imported {files}, {size}, onto branch {said['branch']}{done}: commit {said['commit']}"


def _changes(repository: Repository, commit: str) -> dict[str, int]:
    """Number of files a commit changed. Empty if it cannot be read: the import is done, and this is for its summary."""
    from perago.errors import StoreError

    with suppress(StoreError):
        entry = next(repository.log(commit, 1))
        return {"added": entry.added, "modified": entry.modified, "deleted": entry.deleted}
    return {}


def workspace_spec(prefix: str, exclude: Sequence[str] = ()) -> WorkspaceSpec:
    """The part of a repository below a prefix, without the excluded files.

    Raises:
        UsageError: the prefix or a pattern is invalid.
    """
    from pydantic import ValidationError

    from perago.values.spec import WorkspaceSpec

    try:
        return WorkspaceSpec(prefix=prefix, exclude=list(exclude))
    except ValidationError as exc:
        faults = [f"--{fault['loc'][0]}: {fault.get('ctx', {}).get('error', fault['msg'])}" for fault in exc.errors()]
        raise click.UsageError("; ".join(faults)) from None
