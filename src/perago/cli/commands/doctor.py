"""`perago doctor`: what is left over, missing or damaged; with `--fix` the rest is mended."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import workspace_root_to_look_at
from perago.cli.failure import before_start
from perago.cli.output import count_text, json_option, note, print_json, printable, size_text, tell, wrap
from perago.cli.repos.address import local_engine, parse_address

if TYPE_CHECKING:
    from perago.engines.local import LocalEngine
    from perago.values.findings import Finding
    from perago.values.history import Stamp
    from perago.workspace.owner import Liveness

CLEAN = 0
FOUND = 1


@click.command()
@click.option(
    "--repo",
    metavar="REPO",
    help="The repository, and the runs on it.  [default: none, and the runs of tasks without a workspace]",
)
@click.option("--workspace-root", metavar="DIR", help="Where workspaces are made.  [default: PERAGO_WORKSPACE_ROOT]")
@click.option("--fix", is_flag=True, help="Mend what can be mended.")
@click.option(
    "--deep", is_flag=True, help="Read all large files and cached objects, and compare their content with their names."
)
@click.option(
    "--older-than",
    metavar="AGE",
    default="24h",
    show_default=True,
    help="Age of what may go where nothing else tells that its owner is dead: longer than any attempt takes.",
)
@json_option
def command(repo: str | None, workspace_root: str | None, fix: bool, deep: bool, older_than: str, as_json: bool) -> int:
    """Look for what killed runs left, and for what is missing or damaged.

    \b
      perago doctor --repo data.git
      perago doctor --repo data.git --fix

    Left over can be: attempt directories, runs without an end, staged commits, locks, temporary files (also of the
    host's object cache), large files that nothing names. Missing or damaged: large files, git's objects and
    references, stamps, results that a worker kept; these only a person can mend; and with --deep cached objects. What
    belongs to a living process is never touched.

    Exit code 0: nothing is wrong, or everything is mended; 1: something is left; 2: it could not look, and has
    mended nothing.
    """
    results: list[_MendResult] = []
    try:
        with closing(_examine(repo, workspace_root, _seconds(older_than), deep=deep)) as findings:
            _go_through(findings, results, fix=fix)
    except BaseException:
        for line in [line for result in results if result.is_fixed is not None for line in result.lines()]:
            note(line)
        raise
    left = sum(result.is_left for result in results)
    if as_json:
        print_json({"clean": left == 0, "findings": [result.as_object() for result in results]})
    else:
        _tell(results, fix=fix)
    return FOUND if left else CLEAN


@dataclass(frozen=True)
class _MendResult:
    """A finding, and what became of it.

    Attributes:
        is_fixed: None: nobody tried.
        failure: why it could not be mended.
    """

    finding: Finding
    is_fixed: bool | None = None
    failure: str | None = None

    @classmethod
    def of(cls, finding: Finding, *, fix: bool) -> _MendResult:
        from perago.errors import PeragoError

        if not fix or finding.mend is None:
            return cls(finding)
        try:
            return cls(finding, is_fixed=finding.mend())
        except (PeragoError, OSError) as exc:
            return cls(finding, is_fixed=False, failure=str(exc))

    @property
    def is_left(self) -> bool:
        """Whether it is wrong, and still so. What turned out to be needed is not."""
        in_use = self.is_fixed is False and self.failure is None
        return not (self.finding.is_note or self.is_fixed or in_use)

    @property
    def outcome(self) -> str | None:
        if self.is_fixed is None:
            return None
        if self.is_fixed:
            return "mended"
        return f"could not be mended: {self.failure}" if self.failure else "left alone: somebody needs it again"

    def as_object(self) -> dict[str, Any]:
        finding = self.finding
        return {
            "kind": finding.kind.value,
            "what": finding.what,
            "why": finding.why,
            "age_seconds": finding.age_seconds,
            "size": finding.size,
            "note": finding.is_note,
            "fixable": finding.mend is not None,
            "fixed": self.is_fixed,
            "failure": self.failure,
        }

    def lines(self) -> Iterator[str]:
        finding = self.finding
        facts = [] if finding.age_seconds is None else [age_text(finding.age_seconds)]
        facts += [] if finding.size is None else [size_text(finding.size)]
        about = f" ({', '.join(facts)})" if facts else ""
        yield f"{finding.kind.label}: {printable(finding.what)}{about}"
        yield f"    {printable(finding.why)}."
        if self.outcome is not None:
            yield f"    {printable(self.outcome)}"


def _go_through(findings: Iterator[Finding], results: list[_MendResult], *, fix: bool) -> None:
    """Look and mend in turn, as what is mended lets more be found.

    What keeps it from looking is no finding (1), but a command that has not begun (2), until something is mended.
    """
    begun = False
    while True:
        with nullcontext() if begun else before_start():
            finding = next(findings, None)
        if finding is None:
            return
        results.append(_MendResult.of(finding, fix=fix))
        begun = begun or results[-1].is_fixed is not None


def _examine(
    repo: str | None, workspace_root: str | None, older_than: float, *, deep: bool
) -> Generator[Finding, None, None]:
    """Everything, the cheap first."""
    from perago.ports import SystemClock
    from perago.settings import load_run_config
    from perago.worker.supervisor import examine as worker_examine
    from perago.workspace import examine
    from perago.workspace.cache import examine as cache_examine

    looked_at = workspace_root_to_look_at(workspace_root)
    root = looked_at if looked_at.is_dir() else None
    cache = load_run_config("perago", probe_workspace_root=False).cache_dir
    address = None if repo is None else parse_address(repo)
    with ExitStack() as stack:
        repository = None if address is None else stack.enter_context(address.open())
        engine = local_engine(address)
        yield from engine.examine()
        if root is not None:
            yield from examine.examine(root, older_than, SystemClock())
            yield from worker_examine.examine(root, SystemClock())
        yield from cache_examine.examine(cache, SystemClock(), deep=deep)
        if repository is not None:
            yield from repository.examine(
                older_than_seconds=older_than,
                liveness_of=_LivenessOf(engine),
                living_since=_living_since(engine, root),
                deep=deep,
            )


@dataclass(frozen=True)
class _LivenessOf:
    """Whether the run that made a stamp is under way, as the local engine's locks tell."""

    engine: LocalEngine

    def __call__(self, stamp: Stamp) -> Liveness:
        return self.engine.liveness_of(stamp.workflow_instance_id)


def _living_since(engine: LocalEngine, root: Path | None) -> float | None:
    """When the oldest attempt began that may be at work; seconds since the epoch."""
    from perago.workspace import examine

    run, attempt = engine.running_since(), None if root is None else examine.living_since(root)
    begun = [] if run is None else [run.timestamp()]
    begun += [] if attempt is None else [attempt]
    return min(begun, default=None)


def _seconds(text: str) -> float:
    from perago.settings.values import read_duration

    try:
        return read_duration(text).total_seconds()
    except ValueError as exc:
        raise click.UsageError(f"--older-than {exc}") from None


def _tell(results: list[_MendResult], *, fix: bool) -> None:
    for result in results:
        for line in result.lines():
            tell(wrap(line, sys.stdout, indent="    "))
    note(_summary(results, fix=fix))


def _summary(results: list[_MendResult], *, fix: bool) -> str:
    left = [result for result in results if result.is_left]
    mended = sum(result.is_fixed is True for result in results)
    done = f"Mended {count_text(mended, 'thing')}. " if mended else ""
    if not left:
        return f"{done}Nothing is wrong."
    mendable = sum(result.finding.mend is not None for result in left)
    hint = f" --fix mends {mendable} of them." if mendable and not fix else ""
    return f"{done}Found {count_text(len(left), 'thing')} wrong.{hint}"


def age_text(seconds: float) -> str:
    """An age for people: "40 s old", "3 h old"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} old"
    return f"{max(seconds, 0):.0f} s old"
