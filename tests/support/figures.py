"""The figures that Perago publishes of its reliability: what has to be reached, and what a run of the tests reached.

They are made of what tests count anyway (`counted` in conftest.py). PERAGO_PROVE says how much is wanted: `short`, as
in `make test-long`, or `full`, as in `make prove`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SCHEDULES = "schedules simulated, each judged"
INCIDENTS = "incidents in simulated schedules"
BROKEN_SCHEDULES = "simulated schedules that broke a promise"
FAULTS = "faults set off, each run checked"
BROKEN_POINTS = "calls at which a fault broke a promise"
POINTS = "calls of attempts that faults were to meet, one by one"
KILLS = "`perago run` killed and resumed"
NEMESIS = "what the nemesis did"
NEMESIS_FAULTS = "promises broken under the nemesis"
RECOVERY = "recovery under the nemesis, ms"
RACES = "races of five writers and a person on a real lakeFS"
REFERENCE_RACES = "the same races, of the reference"

Counts = Mapping[str, Counter[str]]

SHORT, FULL = "short", "full"


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        heading: of the counters that it is made of; without them it was not measured.
        value: from all counters to a number.
        least, most: to be reached, by the kind of run; None: it is told, and nothing is asked of it.
        command: that makes it by itself.
        reference: the same of the reference.
    """

    name: str
    heading: str
    value: Callable[[Counter[str]], float]
    command: str
    least: Mapping[str, float] | None = None
    most: float | None = None
    reference: str | None = None
    unit: str = ""

    def wanted(self, kind: str) -> str:
        if self.least is not None:
            return f"at least {self.least[kind]:,g}{self.unit}"
        return "told" if self.most is None else f"{self.most:,g}{self.unit}"

    def is_met(self, value: float, kind: str) -> bool:
        """Whether so much is enough."""
        return (self.least is None or value >= self.least[kind]) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Judged:
    """A figure after a run; value None: nothing was counted for it."""

    figure: Figure
    value: float | None
    reference: float | None
    is_met: bool


def _of(*names: str) -> Callable[[Counter[str]], float]:
    return lambda counter: float(sum(counter[name] for name in names))


def _all(counter: Counter[str]) -> float:
    return float(counter.total())


def _single(counter: Counter[str]) -> float:
    return float(sum(count for name, count in counter.items() if not name.endswith("/pairs")))


def _share_met(counter: Counter[str]) -> float:
    return 100 * counter["met"] / counter["there"] if counter["there"] else 0.0


def _killed(counter: Counter[str]) -> float:
    return float(sum(count for name, count in counter.items() if name.startswith("kill ")))


def _rarest(counter: Counter[str]) -> float:
    return float(min(counter.values()))


FIGURES = (
    Figure("simulated schedules", SCHEDULES, _all, "make simulate SEEDS=10000", least={SHORT: 1_000, FULL: 10_000}),
    Figure("of them broke a promise", BROKEN_SCHEDULES, _all, "make simulate SEEDS=10000", most=0),
    Figure(
        "simulated incidents of the rarest pair of kind and call",
        INCIDENTS,
        _rarest,
        "make simulate SEEDS=10000",
        least={SHORT: 1, FULL: 30},  # the rarest of 417 pairs: 1 in 1,000 schedules of test-long, 41 in 10,000
    ),
    Figure(
        "single-fault points, each run checked",
        FAULTS,
        _single,
        "make test TESTS=tests/faults",
        least={SHORT: 4_000, FULL: 4_000},
    ),
    Figure(
        "calls of the swept attempts that met the fault",
        POINTS,
        _share_met,
        "make test TESTS=tests/faults",
        least={SHORT: 100, FULL: 100},
        unit=" %",
    ),
    Figure("of these points broke a promise", BROKEN_POINTS, _all, "make test TESTS=tests/faults", most=0),
    Figure(
        "real kills of `perago run`",
        KILLS,
        _all,
        "PERAGO_TEST_KILLS=500 make test TESTS=tests/kills",
        least={SHORT: 60, FULL: 500},
    ),
    Figure("real kills of workers under the nemesis", NEMESIS, _killed, "make nemesis MINUTES=4"),
    *(
        Figure(name, NEMESIS, _of(counter), "make nemesis MINUTES=4", least={SHORT: 1, FULL: 1})
        for name, counter in (
            ("transactional runs published under it", "runs published"),
            ("earlier results that tasks with a cache published under it", "results taken and published"),
            ("commits of which a reader saw that they show all of a run or nothing", "commits seen by the reader"),
        )
    ),
    Figure("promises broken under the nemesis", NEMESIS_FAULTS, _all, "make nemesis MINUTES=4", most=0),
    Figure("recovery, p50", RECOVERY, lambda counter: counter["p50"] / 1000, "make nemesis MINUTES=4", unit=" s"),
    Figure("recovery, p99", RECOVERY, lambda counter: counter["p99"] / 1000, "make nemesis MINUTES=4", unit=" s"),
    Figure(
        "races of 5 writers on a real lakeFS",
        RACES,
        _of("rounds"),
        "make races ROUNDS=1000",
        least={SHORT: 100, FULL: 1_000},
        reference=REFERENCE_RACES,
    ),
    *(
        Figure(name, RACES, _of(*counters), "make races ROUNDS=1000", most=0, reference=REFERENCE_RACES)
        for name, counters in (
            ("commits lost", ("lost_heads",)),
            ("published twice, or by somebody who said it was not", ("two_winners", "ghosts", "strangers")),
            ("published on an unexpected head", ("unexpected",)),
        )
    ),
    Figure("orphans after the nemesis", NEMESIS_FAULTS, _of("orphans"), "make nemesis MINUTES=4", most=0),
)


def judge(counts: Counts, kind: str) -> list[Judged]:
    """All figures, from what was counted."""
    judged = []
    for figure in FIGURES:
        value = figure.value(counts[figure.heading]) if figure.heading in counts else None
        beside = figure.reference if figure.reference in counts else None
        reference = None if beside is None else figure.value(counts[beside])
        judged.append(Judged(figure, value, reference, value is not None and figure.is_met(value, kind)))
    return judged


def table(judged: list[Judged], kind: str) -> list[str]:
    """In Markdown."""
    lines = ["| figure | wanted | reached | the reference | made by |", "|---|---|---|---|---|"]
    for entry in judged:
        figure = entry.figure
        reached = "**not measured**" if entry.value is None else f"{entry.value:,g}{figure.unit}"
        reached = f"**{reached}**" if entry.value is not None and not entry.is_met else reached
        beside = "" if entry.reference is None else f"{entry.reference:,g}{figure.unit}"
        lines.append(f"| {figure.name} | {figure.wanted(kind)} | {reached} | {beside} | `{figure.command}` |")
    return lines
