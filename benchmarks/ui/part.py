"""The part: the page of `perago ui` on a long history: seconds to the first byte of each page, and peak memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.compare import Spread
from benchmarks.inputs import environment
from benchmarks.measure import run, settle
from benchmarks.parts import Measured
from benchmarks.tables import MIB, seconds_text, verdict
from benchmarks.ui.history import Size, make_history, make_runs
from benchmarks.ui.server import Page, started

AT_MOST_SECONDS = 0.2
"""To the first byte of any page."""

AT_MOST_COMPARED = 0.5
"""Of 200 runs."""

AT_MOST_FIRST = 1.0
"""From the start of the program to its first page."""

AT_MOST_BYTES = 150 * MIB

COMPARED = 200
COMPARING = f"compare {COMPARED} runs"
PREVIEW = "a file with its preview, by a process of its own"


@dataclass(frozen=True)
class Plan:
    """What is measured: the history, samples of a page, and starts of the program."""

    size: Size = field(default_factory=Size)
    samples: int = 7
    starts: int = 5


TINY = Plan(size=Size(commits=40, files=200, runs=20), samples=1, starts=1)


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        starts: seconds to the first page; new: of the first answer of a user who has no index of the history yet.
        first: seconds of the first answer of each page; pages: of the following ones.
        sizes: bytes of each page. peak: bytes of memory.
    """

    starts: Spread
    new: float
    first: Mapping[str, float]
    pages: Mapping[str, Spread]
    sizes: Mapping[str, int]
    peak: int


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    plan = TINY if tiny else Plan()
    with tempfile.TemporaryDirectory(dir=directory) as made:
        here = Path(made).absolute()
        commits, runs = _make(here, plan.size)
        state = {**environment(), "XDG_STATE_HOME": str(here / "state")}
        figures = _figures(here / "data.git", state, commits, runs, plan)
    return Measured(
        title="The page on a long history",
        versions={"starlette": version("starlette"), "uvicorn": version("uvicorn")},
        short=tuple(_short(figures)),
        text="\n".join(_report(figures, plan)),
    )


def _make(here: Path, size: Size) -> tuple[list[str], list[str]]:
    """Make the repository and the records of its runs; returns the ids of its commits and runs."""
    repository = here / "data.git"
    commits = make_history(repository, size)
    git = ["git", f"--git-dir={repository}"]
    for command in (["repack", "-a", "-d", "--quiet", "--window=2"], ["prune-packed", "--quiet"]):
        run([*git, *command], environment=environment(), directory=here)
    return commits, make_runs(repository, size, commits)


def _addresses(commits: Sequence[str], runs: Sequence[str]) -> dict[str, str]:
    """Each page by what it is."""
    head, middle, first = commits[-1], commits[len(commits) // 2], commits[0]
    return {
        "runs": "/runs",
        "runs of a task, sorted by a result": "/runs?task=train&sort=result.score",
        "runs that fulfil a condition": "/runs?where=alpha+%3E+0.5",
        "history": "/branch",
        "history, from its middle on": f"/branch?before={middle}",
        "history of a task": "/branch?task=train",
        "history of a directory": "/branch?path=folder-00001/**",
        "run": f"/run/{runs[-1]}",
        "commit": f"/commit/{head}",
        "commit of all files": f"/commit/{first}",
        "lineage of the newest commit": f"/commit/{head}/lineage",
        "lineage of a commit in the middle": f"/commit/{middle}/lineage",
        "lineage of the commit of all files": f"/commit/{first}/lineage",
        "compare 2 commits": f"/compare?{urlencode({'of': f'{commits[-2]} {head}'})}",
        COMPARING: f"/compare?{urlencode({'of': ' '.join(runs[-COMPARED:])})}",
        "results of a task": "/results?task=train",
        "a series of a task": "/results?task=train&y=series.loss",
        "worker": "/worker",
        PREVIEW: f"/commit/{head}/file?path=folder-00000/file-000.csv",
    }


def _figures(
    repository: Path, environment: Mapping[str, str], commits: Sequence[str], runs: Sequence[str], plan: Plan
) -> Figures:
    addresses = _addresses(commits, runs)
    with started(repository, environment) as page:
        new, _ = page.get("/branch")
    starts = []
    for _ in range(plan.starts):
        settle()
        with started(repository, environment) as page:
            starts.append(page.first)
    first, pages, sizes = dict[str, float](), dict[str, Spread](), dict[str, int]()
    with started(repository, environment) as page:
        for name, address in addresses.items():
            first[name], sizes[name] = page.get(address)
            pages[name] = Spread.of(_times(page, address, plan.samples))
        peak = page.peak_bytes
    return Figures(Spread.of(starts), new, first, pages, sizes, peak)


def _times(page: Page, address: str, samples: int) -> list[float]:
    return [page.get(address)[0] for _ in range(samples)]


def _limit(name: str) -> float:
    return AT_MOST_COMPARED if name == COMPARING else AT_MOST_SECONDS


def _short(figures: Figures) -> Iterator[str]:
    yield (
        f"the first page after the start: {seconds_text(figures.starts)}, "
        f"{verdict(figures.starts.median <= AT_MOST_FIRST, f'{AT_MOST_FIRST:g} s')}"
    )
    asked = {name: spread for name, spread in figures.pages.items() if name not in (COMPARING, PREVIEW)}
    slowest = max(asked, key=lambda name: asked[name].median)
    yield (
        f"the first byte of the slowest page ({slowest}): {seconds_text(asked[slowest])}, "
        f"{verdict(asked[slowest].median <= AT_MOST_SECONDS, f'{AT_MOST_SECONDS:g} s')}"
    )
    compared = figures.pages[COMPARING]
    yield (
        f"{COMPARING}: {seconds_text(compared)}, "
        f"{verdict(compared.median <= AT_MOST_COMPARED, f'{AT_MOST_COMPARED:g} s')}"
    )
    yield (
        f"peak memory of the server: {figures.peak / MIB:.0f} MiB, "
        f"{verdict(figures.peak <= AT_MOST_BYTES, f'{AT_MOST_BYTES // MIB} MiB')}"
    )


def _report(figures: Figures, plan: Plan) -> Iterator[str]:
    size = plan.size
    yield f"A git repository of {size.commits:,} commits, {size.files:,} files and {size.runs:,} runs. The first commit"
    yield "has all files; each other is a publication that changes 10 of them, of a task that could read all. Seconds"
    yield "to the first byte, after one answer that does not count; that answer may keep in the index what each commit"
    yield "changed, once for a user."
    yield ""
    yield "| page | seconds | required | the answer before | size |"
    yield "|---|---|---|---|---|"
    for name, spread in figures.pages.items():
        reached = "" if spread.median <= _limit(name) else " **not reached**"
        yield (
            f"| {name} | {seconds_text(spread)} | {_limit(name):g} s{reached} | {figures.first[name]:.3f} s "
            f"| {figures.sizes[name] / 1024:.0f} KiB |"
        )
    yield ""
    yield f"The first answer from the history, which makes the user's index of it: {figures.new:.1f} s."
