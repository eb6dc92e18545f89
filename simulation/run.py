"""Runs simulations, one per seed, and adds up their figures."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from simulation.baton import Step, end_idle_threads
from simulation.executor import WorkerParts
from simulation.judge import judge
from simulation.plan import CELLS, Plan, make_plan
from simulation.world import World

MIN_FIRED = 30
"""Minimum occurrences of each pair of incident and call in 10,000 simulations; with fewer the run is void."""
PER_SEEDS = 10_000

Outfit = Callable[[WorkerParts], WorkerParts]


def as_they_are(parts: WorkerParts) -> WorkerParts:
    """The parts, unchanged."""
    return parts


@dataclass(frozen=True)
class Simulated:
    """The result of one simulation.

    Attributes:
        broken: broken promises, one sentence each.
        virtual_seconds: its duration.
    """

    plan: Plan
    broken: tuple[str, ...]
    trace: tuple[Step, ...]
    fired: Counter[tuple[str, str]]
    counts: Counter[str]
    virtual_seconds: float


def keep_to_core(number: int) -> None:
    """Pin this process to one core, by number modulo the available cores.

    Only one actor runs at a time, and each turn wakes another thread, which takes longer on another core (300
    simulations took 20 s on two cores, 15 s on one). Linux only; elsewhere it does nothing.
    """
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


def keep_to_next_core(numbers: SimpleQueue[int]) -> None:
    """The same for the processes of a pool, each with its own number."""
    keep_to_core(numbers.get())


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory for simulations, in memory if possible. Also ends idle threads on exit."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="perago-simulator-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield path
    finally:
        end_idle_threads()
        shutil.rmtree(path)


class _Faults(logging.Handler):
    """Collects what a worker logs with a traceback: errors of its own code, which its threads survive."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(self.format(record))


@contextmanager
def _only_faults_logged() -> Iterator[list[str]]:
    """Nothing else is logged: the trace tells it."""
    logger, worker, handler = logging.getLogger("perago"), logging.getLogger("perago.worker"), _Faults()
    before = logger.level, worker.level, worker.propagate
    logger.setLevel(logging.CRITICAL + 1)
    worker.setLevel(logging.ERROR)
    worker.propagate = False
    worker.addHandler(handler)
    try:
        yield handler.found
    finally:
        worker.removeHandler(handler)
        logger.setLevel(before[0])
        worker.setLevel(before[1])
        worker.propagate = before[2]


def simulate(plan: Plan, directory: Path, outfit: Outfit = as_they_are) -> Simulated:
    """Run one simulation in a directory that is emptied afterwards."""
    directory.mkdir()
    with _only_faults_logged() as faults:
        world = World(plan, directory, outfit)
        try:
            world.run()
            broken = (*judge(world), *faults)
            trace = tuple(world.baton.trace)
        finally:
            world.close()
            shutil.rmtree(directory)
    return Simulated(plan, broken, trace, world.network.fired, world.counts, world.baton.now)


@dataclass
class Figures:
    """Figures of many simulations.

    Attributes:
        fired: occurrences of each fault and event at each call.
        failed: broken promises by seed.
        seconds: computing time.
    """

    simulated: int = 0
    steps: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0
    fired: Counter[tuple[str, str]] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, one: Simulated) -> None:
        self.simulated += 1
        self.steps += len(one.trace)
        self.virtual_seconds += one.virtual_seconds
        self.fired.update(one.fired)
        self.counts.update(one.counts)
        if one.broken:
            self.failed[one.plan.seed] = one.broken

    def merge(self, other: Figures) -> None:
        self.simulated += other.simulated
        self.steps += other.steps
        self.virtual_seconds += other.virtual_seconds
        self.seconds += other.seconds
        self.fired.update(other.fired)
        self.counts.update(other.counts)
        self.failed.update(other.failed)

    @property
    def scarce(self) -> list[str]:
        """Pairs with too few occurrences, which make the run void. Empty for fewer than 10,000 simulations."""
        enough = MIN_FIRED * self.simulated // PER_SEEDS if self.simulated >= PER_SEEDS else 0
        return [f"{cell[0]} at {cell[1]}: {self.fired[cell]}" for cell in CELLS if self.fired[cell] < enough]


def simulate_all(seeds: Iterable[int], outfit: Outfit = as_they_are) -> Figures:
    """Run the simulations of these seeds, one after the other."""
    figures, began = Figures(), time.monotonic()
    with scratch() as directory:
        for seed in seeds:
            figures.add(simulate(make_plan(seed), directory / str(seed), outfit))
    figures.seconds = time.monotonic() - began
    return figures
