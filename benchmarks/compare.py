"""Doing one case on several sides in turn, several times, and what that comes to."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.sides import Case, Sample, Side


class Spread(NamedTuple):
    """The middle of several values, and the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """The samples of one case, by side; the n-th ones of all sides were taken right after one another."""

    title: str
    samples: dict[str, list[Sample]]

    def spread(self, side: str, value: Callable[[Sample], float]) -> Spread:
        return Spread.of([value(sample) for sample in self.samples[side]])

    def ratio(self, one: str, other: str, value: Callable[[Sample], float]) -> Spread:
        """One side's value over another's, of samples taken right after one another: the machine was as busy."""
        pairs = zip(self.samples[one], self.samples[other], strict=True)
        return Spread.of([value(sample) / value(beside) for sample, beside in pairs])

    def phases(self, side: str) -> dict[str, float]:
        """Median seconds of each phase."""
        samples = self.samples[side]
        return {name: statistics.median(sample.phases[name] for sample in samples) for name in samples[0].phases}


def publishing(sample: Sample) -> float:
    """Seconds of laying out and publishing."""
    return sample.publishing


def whole(sample: Sample) -> float:
    """Seconds of the whole programs."""
    return sample.whole.seconds


def cpu(sample: Sample) -> float:
    """Seconds of CPU that the whole programs took."""
    return sample.whole.cpu_seconds


def peak(sample: Sample) -> float:
    """Bytes of memory of the largest process."""
    return sample.whole.peak_bytes


def compare(title: str, sides: dict[str, tuple[Side, Case]], repeats: int, directory: Path) -> Comparison:
    """Do a case on each side in turn (A B A B …), after one round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, (side, case) in sides.items():
            here = directory / f"{name}-{repeat}".replace(" ", "-")
            here.mkdir()
            sample = side(case, here, f"{repeat:08}")
            shutil.rmtree(here)
            if repeat:
                samples[name].append(sample)
    return Comparison(title, samples)
