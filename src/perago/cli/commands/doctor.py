"""`perago doctor`: find leftovers and damage, and fix them with `--fix`."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perago.cli.arguments import configured_repo, workspace_root_to_look_at
from perago.cli.failure import before_start
from perago.cli.output import json_option, note, print_json, tell, wrap
from perago.running.repos.address import local_engine, parse_address
from perago.running.text import count_text, printable, size_text

if TYPE_CHECKING:
    from perago.engines.local import LocalEngine
    from perago.settings import RuntimeConfig
    from perago.values.findings import Finding
    from perago.values.history import Stamp
    from perago.workspace.owner import Liveness

CLEAN = 0
FOUND = 1


@click.command()
@click.option(
    "--repo",
    metavar="REPO",
    default=configured_repo,
    help="Check this repository and its runs.  [default: PERAGO_REPO, or the runs of tasks without a workspace]",
)
@click.option("--workspace-root", metavar="DIR", help="Directory for workspaces.  [default: PERAGO_WORKSPACE_ROOT]")
@click.option("--fix", is_flag=True, help="Fix what can be fixed.")
@click.option(
    "--deep", is_flag=True, help="Compare the content of all large files and cached objects with their names."
)
@click.option(
    "--older-than",
    metavar="AGE",
    default="24h",
    show_default=True,
    help="Age at which leftovers of unknown owner are removed; must exceed the longest attempt.",
)
@click.option(
    "--runs-older-than",
    metavar="AGE",
    help="Age at which branches of ended transactional runs are removed.  [default: PERAGO_RUN_BRANCH_TTL]",
)
@json_option
def command(
    repo: str | None,
    workspace_root: str | None,
    fix: bool,
    deep: bool,
    older_than: str,
    runs_older_than: str | None,
    as_json: bool,
) -> int:
    """Find what killed runs left over, and what is missing or damaged.

    \b
      perago doctor --repo data.git
      perago doctor --repo data.git --fix

    Leftovers are attempt directories, runs without an end, staged commits, branches of old transactional runs, locks,
    temporary files (also of the object cache) and unreferenced large files. Damage is in large files, git objects and
    references, stamps and spooled results, which need manual repair, and with --deep in cached objects. Files of a
    living process are never touched.

    The branch of a transactional run that is still active is kept, at any age. Perago asks the run's record on this
    host, then the server at CONDUCTOR_SERVER_URL. If neither knows the run, its branch is kept for at least
    PERAGO_RUN_BRANCH_TTL, whatever --runs-older-than says.

    It also says whether this host can enforce a sandbox.

    Exit codes: 0 nothing is wrong, or everything is fixed; 1 something is left; 2 it could not look, and has fixed
    nothing.
    """
    from perago.worker.body.sandbox import ability

    results: list[_FixResult] = []
    try:
        ages = _Ages(
            _seconds(older_than, "--older-than"),
            None if runs_older_than is None else _seconds(runs_older_than, "--runs-older-than"),
        )
        with closing(_examine(repo, workspace_root, ages, deep=deep)) as findings:
            _go_through(findings, results, fix=fix)
    except BaseException:
        for line in [line for result in results if result.is_fixed is not None for line in result.lines()]:
            note(line)
        raise
    left = sum(result.is_left for result in results)
    if as_json:
        said = [result.as_object() for result in results]
        print_json({"clean": left == 0, "sandbox": ability(), "findings": said})
    else:
        note(wrap(f"Sandbox: {ability()}.", sys.stderr, indent="    "))
        _tell(results, fix=fix)
    return FOUND if left else CLEAN


@dataclass(frozen=True)
class _Ages:
    """Ages in seconds from which something counts as a leftover: anything of unknown owner, and branches of runs.

    Attributes:
        runs: None for the setting's.
    """

    unknown: float
    runs: float | None


@dataclass(frozen=True)
class _FixResult:
    """A finding, and the result of fixing it.

    Attributes:
        is_fixed: None if it was not tried.
        failure: why it could not be fixed.
    """

    finding: Finding
    is_fixed: bool | None = None
    failure: str | None = None

    @classmethod
    def of(cls, finding: Finding, *, fix: bool) -> _FixResult:
        from perago.errors import PeragoError

        if not fix or finding.mend is None:
            return cls(finding)
        try:
            return cls(finding, is_fixed=finding.mend())
        except (PeragoError, OSError) as exc:
            return cls(finding, is_fixed=False, failure=str(exc))

    @property
    def is_left(self) -> bool:
        """Whether it is still wrong. A leftover that turned out to be in use is not."""
        in_use = self.is_fixed is False and self.failure is None
        return not (self.finding.is_note or self.is_fixed or in_use)

    @property
    def outcome(self) -> str | None:
        if self.is_fixed is None:
            return None
        if self.is_fixed:
            return "fixed"
        return f"could not be fixed: {self.failure}" if self.failure else "left alone: it is in use again"

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


def _go_through(findings: Iterator[Finding], results: list[_FixResult], *, fix: bool) -> None:
    """Look and fix in turn, because a fix can reveal more.

    An error while looking is exit code 2 until something has been fixed.
    """
    begun = False
    while True:
        with nullcontext() if begun else before_start():
            finding = next(findings, None)
        if finding is None:
            return
        results.append(_FixResult.of(finding, fix=fix))
        begun = begun or results[-1].is_fixed is not None


def _examine(
    repo: str | None, workspace_root: str | None, ages: _Ages, *, deep: bool
) -> Generator[Finding, None, None]:
    """All findings, cheap checks first."""
    from perago.ports import SystemClock
    from perago.settings import load_run_config
    from perago.worker.supervisor import examine as worker_examine
    from perago.workspace import examine
    from perago.workspace.cache import examine as cache_examine

    looked_at = workspace_root_to_look_at(workspace_root)
    root = looked_at if looked_at.is_dir() else None
    config = load_run_config("perago", probe_workspace_root=False)
    address = None if repo is None else parse_address(repo)
    with ExitStack() as stack:
        repository = None if address is None else stack.enter_context(address.open())
        engine = local_engine(address)
        yield from engine.examine()
        if root is not None:
            yield from examine.examine(root, ages.unknown, SystemClock())
            yield from worker_examine.examine(root, SystemClock())
        yield from cache_examine.examine(config.cache_dir, SystemClock(), deep=deep)
        if repository is not None:
            yield from repository.examine(
                older_than_seconds=ages.unknown,
                run_age_limit=_RunAgeLimit(ages.runs, config, engine),
                liveness_of=_LivenessOf(engine),
                living_since=_living_since(engine, root),
                deep=deep,
            )


@dataclass(frozen=True)
class _RunAgeLimit:
    """The age from which the branch of a run is removed. Before the setting's age, only branches of ended runs are.

    Attributes:
        seconds: age for branches of ended runs; None for the setting's.
    """

    seconds: float | None
    config: RuntimeConfig
    engine: LocalEngine

    def __call__(self, branch: str) -> float:
        from perago.values.models import run_branch_owner

        unknown = self.config.run_branch_ttl.total_seconds()
        ended = unknown if self.seconds is None else self.seconds
        match self._liveness(run_branch_owner(branch) or ""):
            case "alive":
                return math.inf
            case "dead":
                return ended
            case "unknown":
                return max(ended, unknown)

    def _liveness(self, instance: str) -> Liveness:
        from perago.cli.conductor import open_conductor
        from perago.errors import TaskNotFoundError

        here = self.engine.liveness_of(instance)
        if here != "unknown" or self.config.conductor is None:
            return here
        with open_conductor(self.config) as conductor:
            try:
                return "dead" if conductor.has_ended(instance) else "alive"
            except TaskNotFoundError:
                return "unknown"


@dataclass(frozen=True)
class _LivenessOf:
    """Whether the run that made a stamp is alive, by the local engine's locks."""

    engine: LocalEngine

    def __call__(self, stamp: Stamp) -> Liveness:
        return self.engine.liveness_of(stamp.workflow_instance_id)


def _living_since(engine: LocalEngine, root: Path | None) -> float | None:
    """Start of the oldest attempt that may be alive, in seconds since the epoch."""
    from perago.workspace import examine

    run, attempt = engine.running_since(), None if root is None else examine.living_since(root)
    begun = [] if run is None else [run.timestamp()]
    begun += [] if attempt is None else [attempt]
    return min(begun, default=None)


def _seconds(text: str, option: str) -> float:
    from perago.settings.values import read_duration

    try:
        return read_duration(text).total_seconds()
    except ValueError as exc:
        raise click.UsageError(f"{option} {exc}") from None


def _tell(results: list[_FixResult], *, fix: bool) -> None:
    for result in results:
        for line in result.lines():
            tell(wrap(line, sys.stdout, indent="    "))
    note(_summary(results, fix=fix))


def _summary(results: list[_FixResult], *, fix: bool) -> str:
    left = [result for result in results if result.is_left]
    fixed = sum(result.is_fixed is True for result in results)
    done = f"Fixed {count_text(fixed, 'problem')}. " if fixed else ""
    if not left:
        return f"{done}Nothing is wrong."
    fixable = sum(result.finding.mend is not None for result in left)
    hint = f" --fix fixes {fixable} of them." if fixable and not fix else ""
    return f"{done}Found {count_text(len(left), 'problem')}.{hint}"


def age_text(seconds: float) -> str:
    """Readable age: "40 s old", "3 h old"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} old"
    return f"{max(seconds, 0):.0f} s old"
