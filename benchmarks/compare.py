"""Runs one case several times on several sides in turn, and compares the results."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Usage


@dataclass(frozen=True)
class Sample:
    """One run of one side.

    Attributes:
        publishing: seconds of laying out and publishing, without the body's own time and the removal of its files.
        whole: the complete programs, including the removal of the files.
        phases: seconds by phase, or by command.
    """

    publishing: float
    whole: Usage
    phases: dict[str, float]


Side = Callable[[Path, str], Sample]
"""Does the work once, in an empty directory. The word has eight characters and differs in each run."""


class Spread(NamedTuple):
    """Median, minimum and maximum of several values."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """The samples of one case by side. The n-th samples of all sides were taken directly one after the other.

    A slow side has only one sample, taken between those of the others.
    """

    title: str
    samples: dict[str, list[Sample]]

    def spread(self, side: str, value: Callable[[Sample], float]) -> Spread:
        return Spread.of([value(sample) for sample in self.samples[side]])

    def ratio(self, one: str, other: str, value: Callable[[Sample], float]) -> Spread:
        """Ratio of one side's value to another's, for samples taken one after the other under the same load."""
        length = max(len(self.samples[one]), len(self.samples[other]))
        pairs = zip(self._repeated(one, length), self._repeated(other, length), strict=True)
        return Spread.of([value(sample) / value(beside) for sample, beside in pairs])

    def _repeated(self, side: str, length: int) -> list[Sample]:
        samples = self.samples[side]
        return samples * length if len(samples) == 1 else samples

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


def compare(
    title: str,
    sides: Mapping[str, Side],
    repeats: int,
    directory: Path,
    *,
    rounds_before: int = 1,
    once: Collection[str] = (),
) -> Comparison:
    """Run each side in turn (A B A B …), after some warm-up rounds.

    Args:
        once: slow sides that get only one sample, in the middle round.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(rounds_before + repeats):
        for name, side in sides.items():
            if name in once and number != rounds_before + repeats // 2:
                continue
            here = directory / f"{name}-{number}".replace(" ", "-")
            here.mkdir()
            sample = side(here, f"{number:08}")
            shutil.rmtree(here)
            if number >= rounds_before:
                samples[name].append(sample)
    return Comparison(title, samples)
