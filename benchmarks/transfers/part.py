"""The part: moving files to and from a lakeFS on an S3 block store with presigned URLs, beside lakectl.

`PERAGO_BENCH_TRANSFERS` chooses cases by their titles, separated by semicolons.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.compare import Comparison, Sample, Side, compare, cpu, publishing
from benchmarks.inputs import Content, environment
from benchmarks.measure import run, settle
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.tables import bytes_text, ratio_text, seconds_text
from benchmarks.tables import verdict as judged
from benchmarks.transfers.program_move import CACHE_BYTES
from servers.go_build import LAKEFS, VERSITYGW
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository
from servers.s3 import S3Server

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CACHED, PLAIN, LAKECTL = "Perago", "Perago, no cache", "lakectl -p 25"
MOST = 1.0
"""Required: at most so many times lakectl's seconds."""


@dataclass(frozen=True)
class Case:
    """So many files of so many bytes."""

    files: int
    size: int

    @property
    def title(self) -> str:
        each = f"{self.size // MIB:,} MiB" if self.size >= MIB else f"{self.size:,} bytes"
        return f"{self.files:,} x {each}"


@dataclass(frozen=True)
class Plan:
    """The plan of one run."""

    cases: tuple[Case, ...] = (Case(1, 512 * MIB), Case(1_000, 10 * KIB), Case(10_000, 10 * KIB), Case(1, 6144 * MIB))
    repeats: int = 3
    rounds_before: int = 1


TINY = Plan((Case(20, KIB), Case(1, 33 * MIB)), repeats=1, rounds_before=0)


@dataclass(frozen=True)
class Place:
    """A repository, and a directory of files that its branch `main` has, too."""

    blocks: S3Server
    server: LakeFSServer
    repository: LakeFSRepository
    source: Path
    commit: str

    def stored(self) -> set[Path]:
        """The files of the repository's objects."""
        data = self.blocks.objects / self.repository.name / "data"
        return {path for path in data.rglob("*") if path.is_file()}

    @property
    def known(self) -> dict[str, str]:
        """What a program finds in its environment."""
        server = self.server
        return {
            **environment(),
            "PERAGO_BENCH_KEY_ID": server.access_key_id,
            "PERAGO_BENCH_SECRET": server.secret_access_key,
            "LAKECTL_SERVER_ENDPOINT_URL": server.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
            "HOME": str(self.source.parent),
        }


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    for build in (LAKEFS, VERSITYGW):
        if build.is_missing:
            raise CannotMeasureError(build.missing)
    plan = TINY if tiny else Plan()
    chosen = [title for title in os.environ.get("PERAGO_BENCH_TRANSFERS", "").split(";") if title]
    comparisons: list[Comparison] = []
    with (
        S3Server(parent=directory) as blocks,
        LakeFSServer(config=blocks.lakefs_config, storage=blocks.storage, parent=directory) as server,
        server.api() as api,
    ):
        for case in plan.cases:
            if chosen and case.title not in chosen:
                continue
            with tempfile.TemporaryDirectory(dir=directory) as name:
                source = Path(name) / "source"
                Content(case.files, case.size).write(source)
                made = f"transfers-{uuid.uuid4().hex[:12]}"
                repository = api.create_repository(made, f"{server.storage}{made}")
                place = Place(blocks, server, repository, source, "")
                _perago(place, "up", source, "main", [])
                place = replace(place, commit=repository.commit("main")["id"])
                comparisons += _compared(case, place, plan, Path(name))
                repository.expect("DELETE", "", query={"force": True})
    return Measured(
        title="Moving files, beside lakectl, on an S3 block store",
        versions={"lakeFS": LAKEFS.version, "versitygw": VERSITYGW.version, "aiohttp": version("aiohttp")},
        short=tuple(_sentence(comparison) for comparison in comparisons),
        text="\n".join(_report(comparisons)),
    )


def _compared(case: Case, place: Place, plan: Plan, directory: Path) -> Iterator[Comparison]:
    for direction, side in (("up", _up), ("down", _down)):
        names = (CACHED, PLAIN, LAKECTL) if case.size <= CACHE_BYTES // 2 else (CACHED, LAKECTL)
        sides: Mapping[str, Side] = {name: partial(side, place, name) for name in names}
        title = f"{case.title} {direction}"
        print(f"{time.strftime('%H:%M:%S')}  {title}", flush=True)
        rounds_before = plan.rounds_before if case.size <= GIB else 0
        yield compare(title, sides, plan.repeats, directory, rounds_before=rounds_before)


def _up(place: Place, side: str, directory: Path, _round: str) -> Sample:
    branch = place.repository.branch(f"up-{uuid.uuid4().hex}", "main~1")
    before = place.stored()
    if side == LAKECTL:
        sample = _lakectl(place, "upload", place.source, branch, directory)
    else:
        sample = _perago(place, "up", place.source, branch, [directory / "cache"] if side == CACHED else [])
    for path in place.stored() - before:  # gigabytes
        path.unlink()
    return sample


def _down(place: Place, side: str, directory: Path, _round: str) -> Sample:
    if side == LAKECTL:
        return _lakectl(place, "download", directory / "target", place.commit, directory)
    return _perago(place, "down", directory / "target", place.commit, [directory / "cache"] if side == CACHED else [])


def _perago(place: Place, direction: str, files: Path, ref: str, cache: list[Path]) -> Sample:
    """In a process that has begun, as an executor has."""
    settle()
    program = [sys.executable, "-m", "benchmarks.transfers.program_move", place.server.url, place.repository.name]
    whole = run([*program, direction, files, ref, *cache], environment=place.known, directory=place.source.parent)
    return Sample(float(json.loads(whole.output)), whole, {})


def _lakectl(place: Place, command: str, files: Path, ref: str, directory: Path) -> Sample:
    settle()
    program = str(LAKEFS.made() / "lakectl")
    there = f"lakefs://{place.repository.name}/{ref}/"
    ends = ["-s", str(files), there] if command == "upload" else [there, str(files)]
    whole = run([program, "fs", command, "-r", "-p", "25", *ends], environment=place.known, directory=directory)
    return Sample(whole.seconds, whole, {})


def _sentence(comparison: Comparison) -> str:
    ratio = comparison.ratio(CACHED, LAKECTL, publishing)
    return (
        f"{comparison.title}: {seconds_text(comparison.spread(CACHED, publishing))}, {ratio_text(ratio)} of lakectl's; "
        f"{judged(ratio.median <= MOST, MOST)}."
    )


def _report(comparisons: list[Comparison]) -> Iterator[str]:
    yield "`lakectl fs upload|download -r -p 25` uses presigned URLs and checks nothing. Perago checks parts and files"
    yield "by their MD5, and keeps a copy in the host's cache. Its seconds are those of a process that has begun, but"
    yield "its CPU includes the start of the process."
    yield ""
    yield f"| | {CACHED} | {PLAIN} | {LAKECTL} | ratio | without a cache | its CPU | memory |"
    yield "|---|---|---|---|---|---|---|---|"
    for each in comparisons:
        plain = PLAIN if PLAIN in each.samples else CACHED  # which keeps nothing of more than half its size
        seconds = [seconds_text(each.spread(side, publishing)) for side in (CACHED, plain, LAKECTL)]
        ratios = [
            ratio_text(each.ratio(CACHED, LAKECTL, publishing)),
            ratio_text(each.ratio(plain, LAKECTL, publishing)),
            ratio_text(each.ratio(plain, LAKECTL, cpu)),
        ]
        memory = bytes_text(max(sample.whole.peak_bytes for sample in each.samples[CACHED]))
        yield f"| {each.title} | {' | '.join([*seconds, *ratios, memory])} |"
    yield ""
