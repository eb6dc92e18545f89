"""The part: many small objects over links of several lengths, beside lakectl, and the calls of a small attempt."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.inputs import environment
from benchmarks.measure import run, settle
from benchmarks.parts import CannotMeasureError, Measured
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSApi, LakeFSRepository
from servers.link import Link

PERAGO, LAKECTL = "Perago", ("lakectl -p 25", "lakectl -p 100")
DIRECTIONS = ("down", "up")
SMALL_FILES, SMALL_CHANGED, SMALL_ATTEMPTS = 10, 2, 5
AT_MOST = 0.9
"""Required ratio of Perago's time to the faster lakectl's, over a link."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured: number of objects of 1 KiB, milliseconds of the round trips, and samples of each side."""

    files: int = 4_000
    round_trips: tuple[int, ...] = (0, 5, 50, 150)
    repeats: int = 3


TINY = Plan(files=40, round_trips=(0, 5), repeats=1)


@dataclass
class Samples:
    """Seconds by direction and side; the n-th samples of all sides were taken one after the other."""

    seconds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {way: {side: [] for side in (PERAGO, *LAKECTL)} for way in DIRECTIONS}
    )

    def median(self, way: str, side: str) -> float:
        return statistics.median(self.seconds[way][side])

    def ratio(self, way: str) -> float:
        """Median of the ratios of Perago's time to that of the lakectl that is faster by its median."""
        best = min(LAKECTL, key=lambda side: self.median(way, side))
        pairs = zip(self.seconds[way][PERAGO], self.seconds[way][best], strict=True)
        return statistics.median(ours / beside for ours, beside in pairs)


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    plan = TINY if tiny else Plan()
    with LakeFSServer(parent=directory) as server, server.api() as api:
        small = _repository(server, api, directory, SMALL_FILES)
        attempts = {trip: _small_attempt(server, small, directory, trip) for trip in plan.round_trips}
        repository = _repository(server, api, directory, plan.files)
        samples = {trip: _over(server, repository, directory, trip, plan.repeats) for trip in plan.round_trips}
    return Measured(
        title="Distance: many small objects over a link, beside lakectl",
        versions={"lakeFS": LAKEFS.version},
        short=tuple(_short(samples, plan)),
        text="\n".join([*_report(samples, plan), "", *_report_small(attempts)]),
    )


def _repository(server: LakeFSServer, api: LakeFSApi, directory: Path, files: int) -> LakeFSRepository:
    name = f"bench-{uuid.uuid4().hex[:16]}"
    repository = api.create_repository(name, f"{server.storage}{name}")
    with tempfile.TemporaryDirectory(dir=directory) as place:
        program = [sys.executable, "-m", "benchmarks.lakefs.program_fill", server.url, name, place, str(files), "1024"]
        run(program, environment=_known(server, repository), directory=Path(place))
    return repository


def _known(server: LakeFSServer, repository: LakeFSRepository) -> dict[str, str]:
    return {
        **environment(),
        "PERAGO_BENCH_KEY_ID": server.access_key_id,
        "PERAGO_BENCH_SECRET": server.secret_access_key,
        "PERAGO_BENCH_HEAD": repository.head("main"),
    }


def _small_attempt(
    server: LakeFSServer, repository: LakeFSRepository, directory: Path, milliseconds: int
) -> list[float]:
    """Seconds of a worker's first attempt over a link, and the median of those after it."""
    words = [uuid.uuid4().hex[:8] for _ in range(SMALL_ATTEMPTS)]
    with tempfile.TemporaryDirectory(dir=directory) as name, Link(server.url, milliseconds / 1000) as link:
        here = Path(name)
        program: list[str | Path] = [sys.executable, "-m", "benchmarks.lakefs.program_attempt", link.url]
        program += [repository.name, here, here / "cache", "change", str(SMALL_CHANGED), *words]
        told = json.loads(run(program, environment=_known(server, repository), directory=here).output)
    first, *others = [sum(attempt["phases"].values()) for attempt in told]
    return [first, statistics.median(others)]


def _over(
    server: LakeFSServer, repository: LakeFSRepository, directory: Path, milliseconds: int, repeats: int
) -> Samples:
    samples = Samples()
    for number in range(repeats):
        for side in (PERAGO, *LAKECTL):
            print(f"{milliseconds} ms, {number + 1} of {repeats}: {side}", flush=True)
            with (
                tempfile.TemporaryDirectory(dir=directory) as name,
                Link(server.url, milliseconds / 1000) as link,
            ):
                settle()
                url = link.url if milliseconds else server.url
                measured = (_perago if side == PERAGO else _lakectl)(server, repository, url, Path(name), side)
            for way in DIRECTIONS:
                samples.seconds[way][side].append(measured[way])
    return samples


def _perago(
    server: LakeFSServer, repository: LakeFSRepository, url: str, directory: Path, _side: str
) -> Mapping[str, float]:
    program = [sys.executable, "-m", "benchmarks.distance.program_transfer", url, repository.name]
    branch = f"up-{uuid.uuid4().hex}"
    used = run([*program, branch, directory / "work"], environment=_known(server, repository), directory=directory)
    measured: dict[str, float] = json.loads(used.output)
    return measured


def _lakectl(
    server: LakeFSServer, repository: LakeFSRepository, url: str, directory: Path, side: str
) -> Mapping[str, float]:
    known = {
        **environment(),
        "LAKECTL_SERVER_ENDPOINT_URL": url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
        "HOME": str(directory),
    }
    at, branch, work = f"lakefs://{repository.name}", f"up-{uuid.uuid4().hex}", directory / "work"

    def do(*arguments: str | Path) -> float:
        program = LAKEFS.made() / "lakectl"
        return run([program, *arguments], environment=known, directory=directory).seconds

    width = side.rpartition(" ")[2]
    down = do("fs", "download", "-r", "-p", width, f"{at}/main/", work)
    do("branch", "create", f"{at}/{branch}", "--source", f"{at}/main")
    up = do("fs", "upload", "-r", "-p", width, "-s", work, f"{at}/{branch}/")
    return {"down": down, "up": up}


def _short(samples: Mapping[int, Samples], plan: Plan) -> Iterator[str]:
    for trip, taken in samples.items():
        for way in DIRECTIONS:
            ratio = taken.ratio(way)
            required = f", required at most {AT_MOST}: {'reached' if ratio <= AT_MOST else '**not reached**'}"
            yield (
                f"{plan.files:,} objects of 1 KiB {way} over {trip} ms: {taken.median(way, PERAGO):.2f} s, "
                f"{ratio:.2f} of the faster lakectl's time{required if trip else ''}"
            )


def _report(samples: Mapping[int, Samples], plan: Plan) -> Iterator[str]:
    yield (
        f"Medians of {plan.repeats} samples, all sides in turn, in seconds. `servers/link.py` makes the link: it "
        "delays all bytes, and a new connection by one more round trip; 0 ms is without it. Perago's time is a running "
        "worker's, from the first call to the last file; lakectl's that of its process. Both hash what they move."
    )
    yield ""
    yield f"| round trip | direction | {PERAGO} | {' | '.join(LAKECTL)} | ratio to the faster |"
    yield f"|---|---|{'---|' * (len(LAKECTL) + 2)}"
    for trip, taken in samples.items():
        for way in DIRECTIONS:
            times = " | ".join(f"{taken.median(way, side):.2f}" for side in (PERAGO, *LAKECTL))
            yield f"| {trip} ms | {way} | {times} | {taken.ratio(way):.2f} |"


def _report_small(attempts: Mapping[int, list[float]]) -> Iterator[str]:
    yield (
        f"A small attempt: {SMALL_FILES} files of 1 KiB in the cache, {SMALL_CHANGED} changed, all phases. The first "
        f"one of a process also downloads, opens connections and tries the fence."
    )
    yield ""
    yield "| round trip | a later attempt | in round trips, without what it takes at 0 ms | the first one |"
    yield "|---|---|---|---|"
    for trip, (first, later) in attempts.items():
        trips = f"{(later - attempts[0][1]) * 1000 / trip:.1f}" if trip else ""
        yield f"| {trip} ms | {later:.3f} s | {trips} | {first:.3f} s |"
