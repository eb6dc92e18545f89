"""The part: the validation of reads on a large branch, workflows under prefixes of one branch, transactional runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.scoped.place import Place, counted, new_place
from benchmarks.scoped.runs import RunTimes, begun_and_ended, measure_runs, report_of_runs
from perago.engines.local import LocalEngine
from perago.tasks.declare import task, task_of
from perago.values.history import Merge
from perago.values.spec import Isolation, WorkspaceSpec
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer

AT_MOST_MILLISECONDS, AT_MOST_CALLS = 100, 4
"""Required of a validation on 100,000 files with 10 changed between input and head."""

AT_LEAST_TIMES = 6.0
"""Required throughput of eight workflows under eight prefixes, as a multiple of `exclusive` with retries."""

WORKFLOWS = 8
TRIES = 200


@dataclass(frozen=True)
class Case:
    """The work: files of the branch, validations, publications of each workflow, seconds of a body.

    Attributes:
        runs: of each transactional run, the files that it changes, and the times that it is measured.
    """

    files: int = 100_000
    validations: int = 30
    publications: int = 3
    body_seconds: float = 3.0
    runs: tuple[tuple[int, int], ...] = ((10, 10), (10_000, 3))


TINY = Case(files=200, validations=2, publications=1, body_seconds=0.05, runs=((3, 2),))


@dataclass(frozen=True)
class Throughput:
    """Publications of all workflows: seconds of all, bodies that ran, and attempts that were refused."""

    seconds: float
    bodies: int
    refused: int


class Params(BaseModel):
    """`seconds` that the body takes, and the `word` that it writes."""

    seconds: float
    word: str


class Result(BaseModel):
    pass


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    case = TINY if tiny else Case()
    text: list[str] = []
    short: list[str] = []
    with tempfile.TemporaryDirectory(dir=directory) as directory_of_all, LakeFSServer(parent=directory) as server:
        for name in ("git", "lakeFS"):
            with new_place(name, server, Path(directory_of_all)) as place:
                taken, calls = _validations(place, case)
                short.append(_validated(name, taken, calls, case))
            sides: dict[Isolation, Throughput] = {}
            for isolation in ("exclusive", "serializable"):
                with new_place(name, server, Path(directory_of_all)) as place:
                    sides[isolation] = _workflows(place, isolation, case)
            short.append(_compared(name, sides))
            text += _report(name, sides, case)
            found: dict[int, RunTimes] = {}
            for files, rounds in case.runs:
                with new_place(name, server, Path(directory_of_all)) as place:
                    found[files] = measure_runs(place, files, rounds)
            short.append(begun_and_ended(name, found))
            text += report_of_runs(name, found)
    return Measured(
        title="Serializable tasks under prefixes of one branch, and transactional runs",
        versions={"lakeFS": LAKEFS.version},
        short=tuple(short),
        text="\n".join(text),
    )


def _validations(place: Place, case: Case) -> tuple[Spread, int]:
    """Validate a task on one half of the branch, while ten files of the other half have changed."""
    with tempfile.TemporaryDirectory(dir=place.directory) as source:
        for half in ("data", "other"):
            Content(case.files // 2, 16).write(Path(source) / half)
        base = place.repository.import_directory(Path(source), "main", "begin")
    assert base is not None, "the branch was empty"
    foreign = tuple(place.commit({f"other/{number:04}/new": "theirs"}) for number in range(10))
    merge, spec = Merge(foreign[-1], foreign), WorkspaceSpec(prefix="data")
    seconds, calls = [], 0
    for _ in range(case.validations + 1):
        with counted() as calls_made:
            began = time.perf_counter()
            found = place.repository.validate_reads(place.input(base), spec, merge)
            seconds.append(time.perf_counter() - began)
        assert found is None, found
        calls = max(calls, len(calls_made))
    whole = place.repository.validate_reads(place.input(base), WorkspaceSpec(), merge)
    assert whole is not None, "the whole branch has changed"
    assert len(whole.paths) == len(foreign)
    return Spread.of(seconds[1:]), calls


def _workflows(place: Place, isolation: Isolation, case: Case) -> Throughput:
    """Eight workflows, each under its prefix, all from one head; what is refused runs again from the present one."""
    place.commit({f"{number}/start": "start" for number in range(WORKFLOWS)})
    began = time.perf_counter()
    with ThreadPoolExecutor(WORKFLOWS) as pool:
        tries = list(pool.map(lambda number: _workflow(place, isolation, number, case), range(WORKFLOWS)))
    seconds = time.perf_counter() - began
    return Throughput(seconds, sum(bodies for bodies, _ in tries), sum(refused for _, refused in tries))


def _workflow(place: Place, isolation: Isolation, number: int, case: Case) -> tuple[int, int]:
    """Publish one after the other; returns the bodies that ran, and how often an attempt was refused."""
    bodies = refused = 0

    @task(
        name="write",
        owner_email="benchmarks@example.org",
        workspace=WorkspaceSpec(prefix=f"{number}", isolation=isolation),
    )
    def write(workspace: Path, params: Params) -> Result:
        nonlocal bodies
        bodies += 1
        time.sleep(params.seconds)
        (workspace / "out").write_text(params.word)
        return Result()

    definition = task_of(write)
    assert definition is not None, "it is decorated"
    engine = LocalEngine(place.directory / f"runs-{number}")
    for publication in range(case.publications):
        for _ in range(TRIES):
            params = {"seconds": case.body_seconds, "word": f"{publication}"}
            workspace = place.input(place.repository.resolve("main")).model_dump()
            input_data = {"workspace": workspace, "params": params}
            result = place.attempt(definition, input_data, engine)
            if result.status == "COMPLETED":
                break
            assert "Not published" in (result.reason_for_incompletion or ""), result
            refused += 1
        else:
            raise AssertionError(f"refused {TRIES} times")
    return bodies, refused


def _validated(name: str, taken: Spread, calls: int, case: Case) -> str:
    reached = taken.median * 1000 <= AT_MOST_MILLISECONDS and calls <= AT_MOST_CALLS
    told = (
        f"calls: {calls}, required at most {AT_MOST_MILLISECONDS} ms and {AT_MOST_CALLS} calls"
        if calls
        else (f"required at most {AT_MOST_MILLISECONDS} ms")
    )
    return (
        f"{name}: validating the reads of a task on a branch of {case.files:,} files, 10 of them changed between: "
        f"{_milliseconds(taken)}, {told}: {'reached' if reached else '**not reached**'}"
    )


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median * 1000:.1f} ({spread.least * 1000:.1f} to {spread.greatest * 1000:.1f}) ms"


def _compared(name: str, sides: dict[Isolation, Throughput]) -> str:
    times = sides["exclusive"].seconds / sides["serializable"].seconds
    reached = times >= AT_LEAST_TIMES and not sides["serializable"].refused
    return (
        f"{name}: {WORKFLOWS} workflows under {WORKFLOWS} prefixes of one branch, serializable: "
        f"{sides['serializable'].refused} refused, {times:.1f} times the throughput of exclusive with retries, "
        f"required at least {AT_LEAST_TIMES:.0f}: {'reached' if reached else '**not reached**'}"
    )


def _report(name: str, sides: dict[Isolation, Throughput], case: Case) -> Iterator[str]:
    yield (
        f"### {name}: {WORKFLOWS} workflows, {case.publications} publications each, bodies of {case.body_seconds:g} s"
    )
    yield ""
    yield "| isolation | seconds | publications a second | bodies that ran | refused |"
    yield "|---|---|---|---|---|"
    for isolation, side in sides.items():
        rate = WORKFLOWS * case.publications / side.seconds
        yield f"| {isolation} | {side.seconds:.1f} | {rate:.2f} | {side.bodies} | {side.refused} |"
    yield ""
