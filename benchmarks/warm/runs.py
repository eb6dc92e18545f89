"""Workflows of `perago run`, whose files stay from task to task or do not."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare import Spread
from benchmarks.inputs import Content, Input
from benchmarks.measure import run, settle
from benchmarks.tables import MIB, bytes_text, seconds_text, verdict
from benchmarks.warm import steps
from benchmarks.warm.steps import CHANGED, STEPS
from benchmarks.warm.stores import SIDES, Stored, stored

EACH_SECONDS = 0.3
"""Required of each further task of a workflow, on 10,000 files."""

SLOTS = 2
AT_MOST_COPIES = 2 * SLOTS
"""Of the file that all tasks of a map read."""


@dataclass(frozen=True)
class Plan:
    """What is run: the files of the workflow, its rounds, and of the map the parts, and bytes of the common file."""

    files: Content
    parts: int
    size: int
    rounds: int


FULL = Plan(Content(10_000, 1024), parts=40, size=288 * MIB, rounds=2)
TINY = Plan(Content(300, 100), parts=4, size=17 * MIB, rounds=1)
MAP_ROUNDS = 1


@dataclass(frozen=True)
class Steps:
    """One side of a workflow on a store: seconds of the run, of its first task, and of everything after that, and CPU
    seconds of the command.
    """

    whole: Spread
    first: Spread
    after: Spread
    cpu: Spread


@dataclass(frozen=True)
class Shards:
    """One side of a map: seconds of the run, and the copies of the common file that its tasks have read."""

    whole: Spread
    copies: int


@dataclass(frozen=True)
class Runs:
    """The results: of the workflow by store and side, and of the map by side."""

    steps: Mapping[str, Mapping[str, Steps]]
    shards: Mapping[str, Shards]
    plan: Plan


def measure_runs(directory: Path, tiny: bool) -> Runs:
    """Both workflows, on each side in turn."""
    plan = TINY if tiny else FULL
    return Runs(
        {store: _steps(store, directory, plan) for store in ("git", "lakeFS")},
        _shards(directory, plan),
        plan,
    )


def short(runs: Runs) -> Iterator[str]:
    """The main figures."""
    limit = (STEPS - 1) * EACH_SECONDS
    for store, sides in runs.steps.items():
        on, off = sides["on"], sides["off"]
        yield (
            f"{store}: a workflow of {STEPS} tasks on {runs.plan.files.files:,} files, {CHANGED} changed by each, "
            f"takes {on.whole.median:.1f} s, and {off.whole.median:.1f} s if nothing stays; after its first task "
            f"{on.after.median:.2f} s ({verdict(on.after.median <= limit, f'{limit:g} s')}) and "
            f"{off.after.median:.2f} s."
        )
    shared, apart = runs.shards["on"], runs.shards["off"]
    yield (
        f"git: a map of {runs.plan.parts} tasks that read one file of {bytes_text(runs.plan.size)} and one of their "
        f"own, `-j {SLOTS}`, makes {shared.copies} copies of it "
        f"({verdict(shared.copies <= AT_MOST_COPIES, AT_MOST_COPIES)}) and takes {shared.whole.median:.1f} s, "
        f"{apart.copies} copies and {apart.whole.median:.1f} s if nothing stays."
    )


def report(runs: Runs) -> Iterator[str]:
    """The tables."""
    yield f"### `perago run` of {STEPS} tasks on {runs.plan.files.files:,} files, {CHANGED} changed by each"
    yield ""
    yield "The whole run, with the start of bodies. On lakeFS the host's cache has the files."
    yield ""
    yield "| | | run | first task | after it | CPU of the command |"
    yield "|---|---|---|---|---|---|"
    for store, sides in runs.steps.items():
        for side, found in sides.items():
            cells = map(seconds_text, (found.whole, found.first, found.after, found.cpu))
            yield f"| {store} | {SIDES[side]} | {' | '.join(cells)} |"
    yield ""
    yield f"### `perago run -j {SLOTS}` of {runs.plan.parts} tasks of a map that read {bytes_text(runs.plan.size)}"
    yield ""
    yield "On git. Each body hashes the common file and one of its own, and writes one. What the bodies read under"
    yield "another inode or ctime is another copy."
    yield ""
    yield "| | run | copies of the common file |"
    yield "|---|---|---|"
    for side, mapped in runs.shards.items():
        yield f"| {SIDES[side]} | {seconds_text(mapped.whole)} | {mapped.copies} |"
    yield ""


def _steps(store: str, directory: Path, plan: Plan) -> dict[str, Steps]:
    with _made(store, plan.files, directory) as (made, here):
        if store != "git":
            _run("steps", made, here / "before", "off")
        found = _in_turn(lambda name, side: _run("steps", made, here / name, side), plan.rounds)
    return {side: _spreads(each) for side, each in found.items()}


def _spreads(each: Sequence[_Told]) -> Steps:
    return Steps(
        Spread.of([told.seconds for told in each]),
        Spread.of([told.first for told in each]),
        Spread.of([told.seconds - told.first for told in each]),
        Spread.of([told.cpu for told in each]),
    )


def _shards(directory: Path, plan: Plan) -> dict[str, Shards]:
    with _made("git", _Parts(plan.parts, plan.size), directory) as (made, here):
        parts = {"PERAGO_BENCH_PARTS": str(plan.parts)}
        found = _in_turn(
            lambda name, side: _run("shards", made, here / name, side, "-j", str(SLOTS), **parts), MAP_ROUNDS
        )
    return {
        side: Shards(Spread.of([told.seconds for told in each]), max(told.result["count"] for told in each))
        for side, each in found.items()
    }


@dataclass(frozen=True)
class _Parts:
    """A file that all tasks read, and one for each of them."""

    parts: int
    size: int

    def write(self, root: Path) -> None:
        Content(1, self.size).write(root)
        (root / "in").mkdir()
        for number in range(self.parts):
            (root / "in" / f"{number:03}.txt").write_text(f"{number}")


@contextmanager
def _made(store: str, files: Input, directory: Path) -> Iterator[tuple[Stored, Path]]:
    """A repository, and a directory for runs."""
    with tempfile.TemporaryDirectory(dir=directory.absolute()) as name, stored(store, files, Path(name)) as made:
        yield made, Path(name)


def _in_turn(measured: Callable[[str, str], _Told], rounds: int) -> dict[str, list[_Told]]:
    """The runs of each side.

    Args:
        measured: runs one, by a name of its own and its side.
    """
    found: dict[str, list[_Told]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES:
            settle()
            found[side].append(measured(f"{side}{number}", side))
    return found


class _Told(NamedTuple):
    """What a run tells: its seconds, those of its first task, the command's CPU seconds, and the result."""

    seconds: float
    first: float
    cpu: float
    result: Mapping[str, Any]


def _run(workflow: str, made: Stored, here: Path, side: str, *options: str, **given: str) -> _Told:
    """Run a workflow on the head of `main`. Nothing stays of it, other than the host's cache."""
    here.mkdir()
    environment = {
        **made.environment,
        "PERAGO_WARM": side,
        "PERAGO_WORKSPACE_ROOT": str(here / "workspaces"),
        "PERAGO_LOG_ROOT": str(here / "logs"),
        "PERAGO_CACHE_DIR": str(here.parent / "cache"),
        "XDG_STATE_HOME": str(here.parent / "state"),
        **given,
    }
    perago, place = [sys.executable, "-m", "perago"], ["--repo", made.address]
    command = [*perago, "run", f"{steps.__name__}:{workflow}", *place, "--branch", "main", "--json", *options]
    used = run(command, environment=environment, directory=here)
    told = json.loads(used.output)
    listed = run([*perago, "runs", *place, "-n", "1", "--json"], environment=environment, directory=here)
    (summary,) = json.loads(listed.output)
    assert summary["run_id"] == told["run_id"], summary
    shutil.rmtree(here)
    result = told["output"].get("result") or {}
    return _Told(summary["duration"], told["tasks"][0]["seconds"], used.cpu_seconds, result)
