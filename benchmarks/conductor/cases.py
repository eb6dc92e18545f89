"""The measured cases: workers, amount of work, repetitions."""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare import Spread
from benchmarks.conductor.work import Desk, Inputs
from benchmarks.conductor.workers import FILES, LIGHT, PROCESSES, THEIR_RUNNER, THEIR_WORKER, THREADS, Kind, Memory
from benchmarks.conductor.workers import Worker as RunningWorker
from servers.conductor import ConductorServer
from servers.conductor_api import ConductorApi
from servers.lakefs import LakeFSServer
from servers.lakefs_api import LakeFSApi, LakeFSRepository

KIB = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of one run.

    Attributes:
        rounds: number of rounds. In each, all workers take turns, starting with a different one.
        warming: free tasks of each worker before the first round. The JVM's second compiler runs during the first
            thousands of tasks, and the server gets faster.
        slots: slots of each worker for free tasks.
        light: single tasks in a round; pause: minimum and maximum seconds before each.
        backlog: tasks in a round that are queued at once.
        idle_seconds: duration of each of the two idle periods.
        attempts: attempts with lakeFS for each worker and number of slots; theirs: of the slower reference.
        file_slots: numbers of slots for them.
        files, size, changed: number of files in the repository, bytes of each, and number of changed ones.
        outside: whether other tools are measured, too, each in its own environment.
    """

    rounds: int = 4
    warming: int = 600
    slots: int = 4
    light: int = 12
    pause: tuple[float, float] = (0.1, 0.7)
    backlog: int = 150
    idle_seconds: float = 60.0
    attempts: int = 24
    theirs: int = 6
    file_slots: tuple[int, ...] = (1, 2, 4)
    files: int = 100
    size: int = 4 * KIB
    changed: int = 10
    outside: bool = True


TINY = Plan(
    rounds=1,
    warming=3,
    slots=2,
    light=2,
    backlog=6,
    idle_seconds=1.0,
    attempts=2,
    theirs=1,
    file_slots=(1, 2),
    files=5,
    outside=False,
)
"""Only checks that the benchmarks run."""


class Round(NamedTuple):
    """Results of a worker in a round.

    Attributes:
        latency: median seconds of a single task.
        rate: tasks per second of a backlog.
        cpu: CPU seconds for each of them.
    """

    latency: float
    rate: float
    cpu: float


class Idle(NamedTuple):
    """An idle worker.

    Attributes:
        first, second: share of a core used in the first period after its last task, and in the second.
        one, many: memory with one slot and with several.
    """

    first: float
    second: float
    one: Memory
    many: Memory


@dataclass
class Results:
    """Results by title of the worker.

    Attributes:
        rounds: the n-th ones of all workers were measured directly one after the other.
        latencies: all latencies in seconds.
        attempts: attempts per minute, by worker and number of slots.
        left_out: why workers were not measured.
        without_files: why nothing was measured with lakeFS, or None.
        without_reference: why the reference was not completely measured with lakeFS.
    """

    plan: Plan
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, Idle] = field(default_factory=dict)
    attempts: dict[str, dict[int, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    without_files: str | None = None
    without_reference: str | None = None

    def spread(self, title: str, figure: str) -> Spread:
        return Spread.of([getattr(taken, figure) for taken in self.rounds[title]])

    def ratio(self, one: str, other: str, figure: str) -> Spread:
        """Ratio of one worker's figure to another's in the same round, under the same load."""
        pairs = zip(self.rounds[one], self.rounds[other], strict=True)
        return Spread.of([getattr(taken, figure) / getattr(beside, figure) for taken, beside in pairs])


class Measuring:
    """A run of the benchmarks.

    Args:
        directory: working directory, left empty.
        kinds: kinds of workers.
    """

    def __init__(self, results: Results, directory: Path, server: ConductorServer, kinds: list[Kind]) -> None:
        self._results = results
        self._plan = results.plan
        self._directory = directory
        self._server = server
        self._kinds = kinds
        self._began = time.monotonic()
        self._source = random.Random(1)

    def light(self) -> None:
        """Free tasks, single and queued."""
        for kind in self._kinds:
            self._say(f"{self._plan.warming} tasks before all rounds: {kind.title}")
            with self._worker(kind, LIGHT, self._plan.slots) as (_, desk):
                desk.warm_up(_texts(self._plan.warming))
        for number in range(self._plan.rounds):
            for kind in _from(self._kinds, number):
                self._say(f"round {number + 1} of {self._plan.rounds}: {kind.title}")
                with self._worker(kind, LIGHT, self._plan.slots) as (_, desk):
                    latencies = desk.now_and_then(_texts(self._plan.light), self._source, self._plan.pause)
                    rate, cpu = desk.backlog(_texts(self._plan.backlog))
                self._results.latencies.setdefault(kind.title, []).extend(latencies)
                taken = Round(statistics.median(latencies), rate, cpu)
                self._results.rounds.setdefault(kind.title, []).append(taken)

    def idle(self) -> None:
        """All workers are idle at the same time, so that none disturbs another."""
        seconds, slots = self._plan.idle_seconds, self._plan.slots
        self._say(f"idle for twice {seconds:g} s")
        memory_of_one = {}
        for kind in self._kinds:
            with self._worker(kind, LIGHT, 1) as (worker, _):
                memory_of_one[kind.title] = worker.memory()
        with ExitStack() as stack:
            workers = {kind: stack.enter_context(self._worker(kind, LIGHT, slots)) for kind in self._kinds}
            marks: dict[Kind, list[tuple[float, float]]] = {kind: [] for kind in self._kinds}
            for kind, (_, desk) in workers.items():
                desk.warm_up(_texts(1))
                marks[kind].append(_mark(workers[kind][0]))
            for _ in range(2):
                time.sleep(seconds)
                for kind, (worker, _) in workers.items():
                    marks[kind].append(_mark(worker))
            for kind, (worker, _) in workers.items():
                first, second = _used(*marks[kind])
                one = memory_of_one[kind.title]
                self._results.idle[kind.title] = Idle(first, second, one, worker.memory())

    def files(self, server: LakeFSServer, api: LakeFSApi) -> None:
        """Complete attempts with lakeFS, from input to published commit, each on its own branch."""
        name = f"bench-{uuid.uuid4().hex[:16]}"
        repository = api.create_repository(name, f"{server.storage}{name}")
        content = bytes(range(256)) * (self._plan.size // 256)
        repository.commit_files("main", {f"{number:06}.dat": content for number in range(self._plan.files)})
        variables = {
            "LAKECTL_SERVER_ENDPOINT_URL": server.url,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": server.access_key_id,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": server.secret_access_key,
        }
        for slots in self._plan.file_slots:
            self._attempts(PROCESSES, slots, variables, repository)
            if THEIR_WORKER in self._kinds and not self._results.without_reference:
                try:
                    self._attempts(THEIR_WORKER, slots, variables, repository)
                except RuntimeError as exc:
                    self._results.without_reference = str(exc)

    def _attempts(self, kind: Kind, slots: int, variables: Mapping[str, str], repository: LakeFSRepository) -> None:
        self._say(f"attempts with lakeFS, {slots} at a time: {kind.title}")
        number = self._plan.theirs if kind is THEIR_WORKER else self._plan.attempts
        with self._worker(kind, FILES, slots, variables, self._on_branches(repository, slots)) as (_, desk):
            rate, _ = desk.backlog(self._on_branches(repository, number))
        self._results.attempts.setdefault(kind.title, {})[slots] = rate * 60

    def _on_branches(self, repository: LakeFSRepository, number: int) -> list[Inputs]:
        """Inputs, each with a new branch."""
        head = repository.head("main")
        made: list[Inputs] = []
        for _ in range(number):
            word = uuid.uuid4().hex[:8]
            repository.branch(f"b-{word}", "main")
            workspace = {"repository": repository.name, "branch": f"b-{word}", "refType": "commit", "ref": head}
            made.append({"workspace": workspace, "params": {"count": self._plan.changed, "word": word}})
        return made

    @contextmanager
    def _worker(
        self,
        kind: Kind,
        module: str,
        slots: int,
        variables: Mapping[str, str] | None = None,
        first: list[Inputs] | None = None,
    ) -> Iterator[tuple[RunningWorker, Desk]]:
        """A worker after its first tasks, some for each slot."""
        known = {"CONDUCTOR_SERVER_URL": self._server.api_url, **(variables or {})}
        with (
            tempfile.TemporaryDirectory(dir=self._directory, ignore_cleanup_errors=True) as name,
            ConductorApi(self._server.api_url) as api,
        ):
            worker = RunningWorker(kind, module, slots, Path(name) / "worker", known)
            desk = Desk(api, worker)
            with worker:
                desk.warm_up(first or _texts(2 * slots))
                yield worker, desk

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {what}", flush=True)


def all_kinds() -> list[Kind]:
    """All kinds of workers, in the order of the first round."""
    return [PROCESSES, THEIR_RUNNER, THREADS, THEIR_WORKER]


def _from(kinds: list[Kind], number: int) -> list[Kind]:
    """All kinds, starting with a different one in each round, because the first one gets the coldest server."""
    first = number % len(kinds)
    return kinds[first:] + kinds[:first]


def _texts(number: int) -> list[Inputs]:
    return [{"params": {"text": f"text {count}"}} for count in range(number)]


def _mark(worker: RunningWorker) -> tuple[float, float]:
    return time.monotonic(), worker.cpu_seconds()


def _used(*marks: tuple[float, float]) -> list[float]:
    """CPU per second between two marks."""
    return [(after[1] - before[1]) / (after[0] - before[0]) for before, after in itertools.pairwise(marks)]
