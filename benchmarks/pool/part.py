"""The part: HTTP clients compared on one server."""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.compare import Comparison, Sample, Side, compare, peak
from benchmarks.inputs import environment
from benchmarks.measure import run
from benchmarks.parts import CannotMeasureError, Measured
from benchmarks.pool.program_pool import CLIENTS
from benchmarks.tables import bytes_text, ratio_text, seconds_text
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSRepository

PROGRAM = Path(__file__).with_name("program_pool.py")
CHOSEN, BESIDE = "Perago's session", ("http.client in threads", "urllib3 in threads")
SIZE = 4096


@dataclass(frozen=True)
class Plan:
    """The plan of one run."""

    objects: int = 1000
    repeats: int = 5


TINY = Plan(objects=5, repeats=1)


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    plan = TINY if tiny else Plan()
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    with LakeFSServer(parent=directory) as server, server.api() as api:
        repository = api.create_repository(f"pool-{uuid.uuid4().hex[:8]}", f"{server.storage}pool")
        content = bytes(SIZE)
        commit = repository.commit_files("main", {f"{number:06}": content for number in range(plan.objects)})
        sides = {name: _side(name, server, repository, commit, plan.objects) for name in CLIENTS if _is_here(name)}
        comparison = compare("", sides, plan.repeats, directory)
    reads = comparison.spread(CHOSEN, _phase("read"))
    ratio = ratio_text(comparison.ratio(CHOSEN, BESIDE[0], _phase("read")))
    return Measured(
        title="HTTP clients",
        versions={name: version(name) for name in ("aiohttp", "urllib3") if find_spec(name)}
        | {"lakeFS": LAKEFS.version},
        short=(
            f"{CHOSEN} reads {plan.objects:,} objects in {seconds_text(reads)}, {ratio} times what {BESIDE[0]} take.",
        ),
        text="\n".join(_report(comparison, plan)),
    )


def _is_here(client: str) -> bool:
    return client != "urllib3 in threads" or find_spec("urllib3") is not None


def _side(name: str, server: LakeFSServer, repository: LakeFSRepository, commit: str, objects: int) -> Side:
    pair = base64.b64encode(f"{server.access_key_id}:{server.secret_access_key}".encode()).decode()
    given = {**environment(), "PERAGO_BENCH_AUTHORIZATION": f"Basic {pair}"}

    def do(directory: Path, word: str) -> Sample:
        branch = repository.branch(f"b-{word}-{uuid.uuid4().hex[:8]}", "main")
        target = [server.url, repository.name, commit, branch]
        used = run(
            [sys.executable, PROGRAM, name, *target, str(objects), str(SIZE)], environment=given, directory=directory
        )
        repository.delete_branch(branch)
        phases: Mapping[str, Mapping[str, float]] = json.loads(used.output)
        seconds = {step: taken["seconds"] for step, taken in phases.items()}
        spent = {f"{step} cpu": taken["cpu"] for step, taken in phases.items()}
        return Sample(seconds["read"] + seconds["write"], used, {**seconds, **spent})

    return do


def _phase(name: str) -> Callable[[Sample], float]:
    return partial(_of_phase, name)


def _of_phase(name: str, sample: Sample) -> float:
    return sample.phases[name]


def _report(comparison: Comparison, plan: Plan) -> Iterator[str]:
    yield f"{plan.objects:,} objects of {SIZE} bytes each; CPU is the client's, without the server's."
    yield ""
    columns = ("read", "read cpu", "write", "write cpu", "start")
    yield "| | reading | CPU | writing | CPU | loading it | peak memory |"
    yield "|---|---|---|---|---|---|---|"
    for side in comparison.samples:
        shown = " | ".join(seconds_text(comparison.spread(side, _phase(column))) for column in columns)
        yield f"| {side} | {shown} | {bytes_text(comparison.spread(side, peak).median)} |"
    for beside in BESIDE:
        if beside not in comparison.samples:
            continue
        shown = " | ".join(ratio_text(comparison.ratio(CHOSEN, beside, _phase(column))) for column in columns[:4])
        yield f"| **{CHOSEN} / {beside}** | {shown} | | |"
