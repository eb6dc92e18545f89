"""The part: the page of `perago ui` on a long history: seconds to the first byte of each page, and peak memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.compare import Spread
from benchmarks.inputs import environment
from benchmarks.measure import run, settle
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import MIB, seconds_text, verdict
from benchmarks.ui import lakefs_history
from benchmarks.ui.history import Size, make_history, make_runs
from benchmarks.ui.server import Page, started
from perago.stores.lakefs.provider import directory_name
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer

AT_MOST_SECONDS = 0.2
"""To the first byte of any page on git."""

AT_MOST_SECONDS_LAKEFS = 0.5
"""To the first byte of any page on a lakeFS server on loopback."""

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
class Subject:
    """A repository with a long history.

    Attributes:
        store: its name in the report.
        address: as `--repo` takes it. environment: of the page.
        commits, runs: their ids, the oldest first.
        at_most: seconds to the first byte of a page.
        made_in: seconds that making it took.
    """

    store: str
    address: str
    environment: Mapping[str, str]
    commits: Sequence[str]
    runs: Sequence[str]
    at_most: float
    made_in: float

    def limit(self, name: str) -> float:
        """Of a page."""
        return max(AT_MOST_COMPARED, self.at_most) if name == COMPARING else self.at_most


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        starts: seconds to the first page; new: of the first answer of a user who has no index of the history yet.
        first: seconds of the first answer of each page; whole: until it had all that it can have; pages: of the
            answers from then on.
        sizes: bytes of each page. peak: bytes of memory.
    """

    subject: Subject
    starts: Spread
    new: float
    first: Mapping[str, float]
    whole: Mapping[str, float]
    pages: Mapping[str, Spread]
    sizes: Mapping[str, int]
    peak: int


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    plan = TINY if tiny else Plan()
    with tempfile.TemporaryDirectory(dir=directory) as made:
        here = Path(made).absolute()
        found = [_figures(_on_git(here, plan.size), plan)]
        with _on_lakefs(here, plan.size) as subject:
            found.append(_figures(subject, plan))
    return Measured(
        title="The page on a long history",
        versions={"starlette": version("starlette"), "uvicorn": version("uvicorn"), "lakeFS": LAKEFS.version},
        short=tuple(line for figures in found for line in _short(figures)),
        text="\n".join(line for figures in found for line in _report(figures, plan)),
    )


def _on_git(here: Path, size: Size) -> Subject:
    began = time.monotonic()
    repository = here / "data.git"
    commits = make_history(repository, size)
    git = ["git", f"--git-dir={repository}"]
    for command in (["repack", "-a", "-d", "--quiet", "--window=2"], ["prune-packed", "--quiet"]):
        run([*git, *command], environment=environment(), directory=here)
    return Subject(
        store="git",
        address=str(repository),
        environment={**environment(), "XDG_STATE_HOME": str(here / "state")},
        commits=commits,
        runs=make_runs(repository / "perago" / "runs", size, commits),
        at_most=AT_MOST_SECONDS,
        made_in=time.monotonic() - began,
    )


@contextmanager
def _on_lakefs(here: Path, size: Size) -> Iterator[Subject]:
    """A server on loopback, without hooks: the page runs none."""
    began = time.monotonic()
    files, state = here / "files", here / "lakefs-state"
    state.mkdir(mode=0o700)
    lakefs_history.write_files(files, size)
    config = {"blockstore.local.import_enabled": True, "blockstore.local.allowed_external_prefixes": [str(files)]}
    with LakeFSServer(actions=False, config=config, parent=here) as server, server.api() as api:
        repository = api.create_repository("history", f"{server.storage}history")
        commits = lakefs_history.make_history(repository, files, size)
        directory = state / "perago" / "lakefs" / directory_name(server.url, repository.name) / "runs"
        yield Subject(
            store="lakeFS",
            address=f"lakefs://{repository.name}",
            environment={
                **environment(),
                "XDG_STATE_HOME": str(state),
                "LAKECTL_SERVER_ENDPOINT_URL": server.url,
                "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
                "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
            },
            commits=commits,
            runs=make_runs(directory, size, commits),
            at_most=AT_MOST_SECONDS_LAKEFS,
            made_in=time.monotonic() - began,
        )


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


def _figures(subject: Subject, plan: Plan) -> Figures:
    with _page(subject) as page:
        new, _ = page.get("/branch")
    starts = []
    for _ in range(plan.starts):
        settle()
        with _page(subject) as page:
            starts.append(page.first)
    first, whole, pages, sizes = dict[str, float](), dict[str, float](), dict[str, Spread](), dict[str, int]()
    with _page(subject) as page:
        for name, address in _addresses(subject.commits, subject.runs).items():
            began = time.monotonic()
            first[name], _ = page.get(address)
            page.wait_until_whole(address)
            whole[name] = time.monotonic() - began
            _, sizes[name] = page.get(address)
            pages[name] = Spread.of([page.get(address)[0] for _ in range(plan.samples)])
        peak = page.peak_bytes
    return Figures(subject, Spread.of(starts), new, first, whole, pages, sizes, peak)


@contextmanager
def _page(subject: Subject) -> Iterator[Page]:
    with started(subject.address, subject.environment) as page:
        yield page


def _short(figures: Figures) -> Iterator[str]:
    subject = figures.subject
    store = subject.store
    yield (
        f"{store}: the first page after the start: {seconds_text(figures.starts)}, "
        f"{verdict(figures.starts.median <= AT_MOST_FIRST, f'{AT_MOST_FIRST:g} s')}"
    )
    asked = {name: spread for name, spread in figures.pages.items() if name not in (COMPARING, PREVIEW)}
    slowest = max(asked, key=lambda name: asked[name].median)
    yield (
        f"{store}: the first byte of the slowest page ({slowest}): {seconds_text(asked[slowest])}, "
        f"{verdict(asked[slowest].median <= subject.at_most, f'{subject.at_most:g} s')}"
    )
    compared = figures.pages[COMPARING]
    yield (
        f"{store}: {COMPARING}: {seconds_text(compared)}, "
        f"{verdict(compared.median <= AT_MOST_COMPARED, f'{AT_MOST_COMPARED:g} s')}"
    )
    yield (
        f"{store}: peak memory of the page's process: {figures.peak / MIB:.0f} MiB, "
        f"{verdict(figures.peak <= AT_MOST_BYTES, f'{AT_MOST_BYTES // MIB} MiB')}"
    )


def _report(figures: Figures, plan: Plan) -> Iterator[str]:
    size, subject = plan.size, figures.subject
    yield f"### {subject.store}, {size.commits:,} commits"
    yield ""
    yield f"{size.files:,} files and {size.runs:,} runs, made in {subject.made_in:.0f} s. The first commit has all"
    yield "files; each other is a publication that changes 10 of them, of a task that could read all. Seconds to the"
    yield "first byte, once the page has all that it can have. Before, the first answer shows what it can in half a"
    yield "second; what commits changed is then read in the background, once for a user."
    if subject.store != "git":
        yield f"The server is on loopback. Its commits go through {lakefs_history.STATES} states of the files, forth"
        yield "and back, so that its disk holds them; more states would keep more of its cache busy."
    yield ""
    yield "| page | seconds | required | the first answer | until it had all | size |"
    yield "|---|---|---|---|---|---|"
    for name, spread in figures.pages.items():
        reached = "" if spread.median <= subject.limit(name) else " **not reached**"
        yield (
            f"| {name} | {seconds_text(spread)} | {subject.limit(name):g} s{reached} | {figures.first[name]:.3f} s "
            f"| {figures.whole[name]:.1f} s | {figures.sizes[name] / 1024:.0f} KiB |"
        )
    yield ""
    yield f"The first answer from the history, which makes the user's index of it: {figures.new:.1f} s."
    yield ""
