"""The part: what a task takes whose result is there already, and a pipeline of which nothing or little has changed.

The pipeline is `benchmarks/changed/pipeline`: six stages, two of which read and write each file of the input.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.changed.projects import CHANGED, DVC, STAGES, DvcProject, PeragoProject, WrongWorkError, hits
from benchmarks.compare import Comparison, Sample, Side, Spread, compare, cpu, peak, whole
from benchmarks.environments import NotInstalledError
from benchmarks.measure import Usage, settle
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import MIB, bytes_text, ratio_text, seconds_text, verdict
from perago.values.credentials import LAKEFS_KEY_ID, LAKEFS_SECRET, LAKEFS_URL
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer
from servers.link import Call, Link

AT_MOST_SECONDS = 0.3
"""Of a hit on git, in a process that has begun."""

AT_MOST_CALLS = 10
"""Of a hit on lakeFS, besides one listing of its files."""

AT_MOST_BYTES = 0.02
"""Of those of the first run."""

AT_MOST_RATIO = 1.0
"""Perago's seconds on git, as a multiple of DVC's."""

AT_MOST_LAKEFS = 3.0
"""Seconds of the pipeline on lakeFS if nothing has changed."""

LISTED_AT_ONCE = 1_000
PERAGO, BESIDE, LAKEFS_SIDE = "Perago on git", "DVC", "Perago on lakeFS"
NOTHING, TEN = "nothing has changed", f"{CHANGED} files have changed"
TASK, FEW = "clean", "daily"
"""A task with as many outputs as inputs, and one with a hundredth of them."""


@dataclass(frozen=True)
class Plan:
    """What is measured: files, samples of a hit, and rounds of the pipeline if nothing, and if files have changed."""

    files: int = 10_000
    hits: int = 5
    repeats: int = 5
    changes: int = 3


TINY = Plan(files=200, hits=1, repeats=1, changes=1)


@dataclass(frozen=True)
class Hits:
    """One store: a task whose outputs are there, and one whose outputs are put there.

    Attributes:
        there, put: seconds in a process that has begun, with the calls of the most expensive one.
        command: whole commands for the first of the two; `first` is the run that computed it.
        moved: the calls of a command and of the run that computed it; none on git.
    """

    there: tuple[Spread, int]
    put: tuple[Spread, int]
    first: Usage
    command: list[Usage]
    moved: tuple[list[Call], list[Call]] = ([], [])


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    plan, missing = TINY if tiny else Plan(), _make_dvc(tiny)
    with tempfile.TemporaryDirectory(dir=directory) as made:
        here = Path(made).absolute()
        on_git = PeragoProject(here / "git", plan.files, str(here / "git" / "data.git"))
        beside = None if missing else DvcProject(here / "dvc", plan.files)
        on_git.make()
        git_hits = _hits(on_git, on_git, plan, list)
        on_git.run(cached=3)
        if beside is not None:
            beside.make()
            beside.run(unchanged=0)
        nothing, ten, loads = _pipelines(on_git, beside, plan, here)
        if beside is not None:
            _expect_same(on_git, beside)
        with _on_lakefs(here, plan.files) as (project, linked, calls):
            lakefs_hits = _hits(project, linked, plan, calls)
            project.run(cached=3)
            lakefs = _lakefs_pipelines(project, plan, here)
    return Measured(
        title="Computing only what has changed, beside DVC",
        versions={**({} if missing else DVC.versions()), "lakeFS": LAKEFS.version},
        short=(*_short_hits(git_hits, lakefs_hits, plan), *_short_pipelines(nothing, ten, lakefs, plan)),
        text="\n".join(
            [
                *_report_hits(git_hits, lakefs_hits, plan),
                *_report_pipelines(nothing, ten, lakefs, loads, plan),
                f"DVC was not measured: {missing}." if missing else "",
            ]
        ),
    )


def _make_dvc(tiny: bool) -> str:
    """Install DVC, unless this is only a check; returns why it cannot be measured."""
    if tiny:
        return "" if DVC.is_made() else "it is not installed here"
    try:
        DVC.make()
    except NotInstalledError as exc:
        return str(exc)
    return ""


_Calls = Callable[[], list[Call]]
"""The calls since the last time that this was asked."""


@contextmanager
def _on_lakefs(here: Path, files: int) -> Iterator[tuple[PeragoProject, PeragoProject, _Calls]]:
    """A project on a server, the same whose calls are counted, and these calls."""
    with LakeFSServer(parent=here) as server, Link(server.url, 0.0) as link:
        name = f"changed-{uuid.uuid4().hex[:8]}"
        settings = {LAKEFS_KEY_ID: server.access_key_id, LAKEFS_SECRET: server.secret_access_key}
        project = PeragoProject(here / "lakefs", files, f"lakefs://{name}", {**settings, LAKEFS_URL: server.url})
        project.make("--storage-namespace", f"{server.storage}{name}")
        yield project, replace(project, settings={**settings, LAKEFS_URL: link.url}), link.calls


# ---------------------------------------------------------------- hits


def _hits(project: PeragoProject, linked: PeragoProject, plan: Plan, calls: _Calls) -> Hits:
    """Compute two tasks, and take their results.

    Args:
        linked: the same project, whose calls are counted.
        calls: those since the last time.
    """
    calls()
    first = linked.run(cached=0, target=TASK)
    first_calls = calls()
    commands = []
    for _ in range(plan.hits):
        settle()
        calls()
        commands.append(linked.run(cached=1, target=TASK))
    hit_calls = calls()
    project.run(cached=0, target="measure")
    project.run(cached=0, target=FEW)
    there, put = (_attempts(project, plan, *arguments) for arguments in ((TASK, ""), (FEW, FEW)))
    return Hits(there, put, first, commands, (hit_calls, first_calls))


def _attempts(project: PeragoProject, plan: Plan, task: str, removed: str) -> tuple[Spread, int]:
    settle()
    told = hits(project.program("benchmarks.changed.program_hit", task, str(plan.hits), removed).output)
    return Spread.of([each["seconds"] for each in told]), int(max(each["calls"] for each in told))


def _short_hits(on_git: Hits, lakefs: Hits, plan: Plan) -> Iterator[str]:
    commands = Spread.of([used.seconds for used in on_git.command])
    yield (
        f"git: a hit on {plan.files:,} files, in a process that has begun: {_of_seconds(on_git.there[0])}; the whole "
        f"`perago run` takes {seconds_text(commands)}"
    )
    others = lakefs.there[1] - _pages(plan.files)
    yield (
        f"lakeFS: a hit on {plan.files:,} files: {seconds_text(lakefs.there[0])}, with one listing and {others} calls, "
        f"{verdict(others <= AT_MOST_CALLS, AT_MOST_CALLS)}; the whole `perago run` makes {len(lakefs.moved[0])} calls"
    )
    share = _bytes(lakefs.moved[0]) / _bytes(lakefs.moved[1])
    yield (
        f"lakeFS: it moves {_bytes(lakefs.moved[0]) / MIB:.2f} MiB, {share:.2%} of the first run's "
        f"{_bytes(lakefs.moved[1]) / MIB:.1f} MiB, {verdict(share <= AT_MOST_BYTES, f'{AT_MOST_BYTES:.0%}')}"
    )


def _of_seconds(spread: Spread) -> str:
    return f"{seconds_text(spread)}, {verdict(spread.median <= AT_MOST_SECONDS, f'{AT_MOST_SECONDS:g} s')}"


def _pages(files: int) -> int:
    """Calls of one listing."""
    return -(-files // LISTED_AT_ONCE)


def _bytes(calls: list[Call]) -> int:
    return sum(call.size for call in calls)


def _report_hits(on_git: Hits, lakefs: Hits, plan: Plan) -> Iterator[str]:
    yield "### A result that is there"
    yield ""
    yield f"Task `{TASK}` reads {plan.files:,} files and writes as many, which the branch has already. Task `{FEW}`"
    yield f"writes {plan.files // 100}, which a person has deleted, so that the result is put there again. The calls"
    yield "are those of one attempt."
    yield ""
    yield "| | outputs are there | calls | outputs are put there | calls | whole command for the first | first run |"
    yield "|---|---|---|---|---|---|---|"
    for name, found in (("git", on_git), ("lakeFS", lakefs)):
        command = seconds_text(Spread.of([used.seconds for used in found.command]))
        (there, calls), (put, put_calls) = found.there, found.put
        yield (
            f"| {name} | {seconds_text(there)} | {calls} | {seconds_text(put)} | {put_calls} | {command} "
            f"| {found.first.seconds:.1f} s |"
        )
    yield ""


# ---------------------------------------------------------------- pipelines


def _pipelines(
    on_git: PeragoProject, beside: DvcProject | None, plan: Plan, here: Path
) -> tuple[Comparison, Comparison, Spread]:
    """Both sides in turn, if nothing has changed, and if some files have; and the seconds of importing those."""
    every, loads = len(STAGES), list[float]()

    def perago_again(_: Path, __: str) -> Sample:
        return _sample(on_git.run(cached=every))

    def perago(_: Path, word: str) -> Sample:
        loads.append(on_git.change(word).seconds)
        settle()
        return _sample(on_git.run(cached=0))

    again: dict[str, Side] = {PERAGO: perago_again}
    changed: dict[str, Side] = {PERAGO: perago}
    if beside is not None:
        again[BESIDE] = lambda _, __: _sample(beside.run(unchanged=every))
        changed[BESIDE] = partial(_changed_dvc, beside)
    nothing = compare(NOTHING, again, plan.repeats, here)
    ten = compare(TEN, changed, plan.changes, here)
    return nothing, ten, Spread.of(loads[1:])


def _changed_dvc(beside: DvcProject, _: Path, word: str) -> Sample:
    beside.change(word)
    settle()
    return _sample(beside.run(unchanged=0))


def _lakefs_pipelines(project: PeragoProject, plan: Plan, here: Path) -> Comparison:
    return compare(NOTHING, {LAKEFS_SIDE: lambda _, __: _sample(project.run(cached=len(STAGES)))}, plan.repeats, here)


def _sample(used: Usage) -> Sample:
    return Sample(used.seconds, used, {})


def _expect_same(on_git: PeragoProject, beside: DvcProject) -> None:
    for path in ("report/report.md", "summary/summary.json"):
        if on_git.content(path) != beside.content(path):
            raise WrongWorkError(f"the sides differ in {path}")


def _short_pipelines(nothing: Comparison, ten: Comparison, lakefs: Comparison, plan: Plan) -> Iterator[str]:
    for comparison in (nothing, ten):
        told = f"git: six stages on {plan.files:,} files, {comparison.title}: "
        told += seconds_text(comparison.spread(PERAGO, whole))
        if BESIDE in comparison.samples:
            ratio = comparison.ratio(PERAGO, BESIDE, whole)
            told += f", {ratio_text(ratio)} of DVC's {seconds_text(comparison.spread(BESIDE, whole))}, "
            told += verdict(ratio.median <= AT_MOST_RATIO, AT_MOST_RATIO)
        yield told
    taken = lakefs.spread(LAKEFS_SIDE, whole)
    yield (
        f"lakeFS: the same, {lakefs.title}: {seconds_text(taken)}, "
        f"{verdict(taken.median <= AT_MOST_LAKEFS, f'{AT_MOST_LAKEFS:g} s')}"
    )


def _report_pipelines(
    nothing: Comparison, ten: Comparison, lakefs: Comparison, loads: Spread, plan: Plan
) -> Iterator[str]:
    yield "### A pipeline of six stages"
    yield ""
    yield f"`perago run` and `dvc repro`, process starts included. Two stages read and write {plan.files:,} files of"
    yield "1.6 KiB or less, the third one reads as many, and the others about a hundred. On both sides a stage runs"
    yield "as a whole. Perago lays out the input of each stage, confines it, and commits its outputs to a branch that"
    yield "others may write. DVC runs it in the user's directory, and keeps the outputs in its cache. Perago's input"
    yield f"comes from a branch: importing the {CHANGED} changed files takes {seconds_text(loads)} more. On an ext4"
    yield "without a journal, a new file takes ten times as long after many deletions, and Perago makes more new files."
    yield ""
    yield "| | | seconds | CPU | peak memory |"
    yield "|---|---|---|---|---|"
    for comparison in (nothing, ten, lakefs):
        for side in comparison.samples:
            seconds, spent = (seconds_text(comparison.spread(side, value)) for value in (whole, cpu))
            yield (
                f"| {comparison.title} | {side} | {seconds} | {spent} "
                f"| {bytes_text(comparison.spread(side, peak).median)} |"
            )
        if BESIDE in comparison.samples:
            ratios = " | ".join(ratio_text(comparison.ratio(PERAGO, BESIDE, value)) for value in (whole, cpu, peak))
            yield f"| | **{PERAGO} / {BESIDE}** | {ratios} |"
    yield ""
