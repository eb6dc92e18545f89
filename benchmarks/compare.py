"""Doing one case on several sides in turn, several times, and what that comes to."""

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
        publishing: seconds of laying out and publishing: all but the body's own time and the removal of its files.
        whole: the programs, from their start to their end, the removal of the files included.
        phases: seconds by phase, or by command.
    """

    publishing: float
    whole: Usage
    phases: dict[str, float]


Side = Callable[[Path, str], Sample]
"""Does the work once, in an empty directory. The word, of eight characters, differs from run to run."""


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
    """The samples of one case, by side; the n-th ones of all sides were taken right after one another.

    A side that takes too long for more has one, which was taken in between those of the others.
    """

    title: str
    samples: dict[str, list[Sample]]

    def spread(self, side: str, value: Callable[[Sample], float]) -> Spread:
        return Spread.of([value(sample) for sample in self.samples[side]])

    def ratio(self, one: str, other: str, value: Callable[[Sample], float]) -> Spread:
        """One side's value over another's, of samples taken right after one another: the machine was as busy."""
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
    """Do something on each side in turn (A B A B …), after some rounds that do not count.

    Args:
        once: the sides that take too long for more than one sample; it is taken in the middle one of the rounds.
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
