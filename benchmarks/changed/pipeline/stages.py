"""The stages as functions of a directory. Each reads files and writes files below it.

usage: python -m pipeline.stages STAGE
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean, pstdev


def clean(root: Path) -> int:
    """Drop the readings that are no numbers, from each file."""
    return _each(root / "raw", root / "clean", _cleaned)


def measure(root: Path) -> int:
    """The mean, the least and the greatest reading of each file."""
    return _each(root / "clean", root / "measures", _measured)


def daily(root: Path) -> int:
    """One table for each day."""
    days = sorted((root / "measures").iterdir())
    (root / "daily").mkdir(exist_ok=True)
    for day in days:
        measures = {path.stem: path.read_text() for path in sorted(day.iterdir())}
        table = "".join(f"{sensor},{measure}" for sensor, measure in measures.items())
        (root / "daily" / f"{day.name}.csv").write_text(table)
    return len(days)


def summary(root: Path) -> int:
    """Mean and deviation over all days."""
    means = [mean for _, _, mean in _rows(root)]
    (root / "summary").mkdir(exist_ok=True)
    told = {"sensors": len(means), "mean": fmean(means), "deviation": pstdev(means)}
    (root / "summary" / "summary.json").write_text(json.dumps(told))
    return 1


def outliers(root: Path) -> int:
    """What lies far from the mean, one table for each day."""
    told = _summary(root)
    far: dict[str, list[str]] = {}
    for day, sensor, mean in _rows(root):
        if abs(mean - told["mean"]) > 2 * told["deviation"]:
            far.setdefault(day, []).append(f"{sensor},{mean}\n")
    (root / "outliers").mkdir(exist_ok=True)
    for day, lines in far.items():
        (root / "outliers" / f"{day}.csv").write_text("".join(lines))
    return len(far)


def report(root: Path) -> int:
    """A page for people."""
    told = _summary(root)
    counts = {path.stem: len(path.read_text().splitlines()) for path in sorted((root / "outliers").iterdir())}
    lines = [f"{told['sensors']} sensors, mean {told['mean']}", *(f"- {day}: {count}" for day, count in counts.items())]
    (root / "report").mkdir(exist_ok=True)
    (root / "report" / "report.md").write_text("\n".join(lines) + "\n")
    return 1


STAGES: dict[str, Callable[[Path], int]] = {
    function.__name__: function for function in (clean, measure, daily, summary, outliers, report)
}


def _each(source: Path, target: Path, change: Callable[[str], str]) -> int:
    count = 0
    for path in sorted(source.rglob("*.csv")):
        written = target / path.relative_to(source)
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(change(path.read_text()))
        count += 1
    return count


def _cleaned(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(","))


def _measured(text: str) -> str:
    values = [float(line.partition(",")[2]) for line in text.splitlines()]
    return f"{fmean(values)},{min(values)},{max(values)}\n"


def _rows(root: Path) -> Iterator[tuple[str, str, float]]:
    for path in sorted((root / "daily").iterdir()):
        with path.open(newline="") as file:
            yield from ((path.stem, row[0], float(row[1])) for row in csv.reader(file))


def _summary(root: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((root / "summary" / "summary.json").read_text())
    return found


if __name__ == "__main__":
    STAGES[sys.argv[1]](Path())
