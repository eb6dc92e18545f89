"""The input of the pipeline: a file of readings for each of 100 sensors a day."""

from __future__ import annotations

import random
from pathlib import Path

SENSORS = 100
READINGS = 60


def write_readings(root: Path, files: int) -> None:
    """Write so many files of about 1 KiB below `raw`; always the same ones."""
    source = random.Random(files)
    for number in range(files):
        path = _path(root, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        level = source.gauss(20, 3)
        lines = [f"2026-01-01T{at // 60:02}:{at % 60:02},{_reading(source, level)}\n" for at in range(READINGS)]
        path.write_text("".join(lines))


def change_readings(root: Path, files: int, changed: int, word: str) -> None:
    """Replace the first reading of some files, spread over all of them, by one that the word decides."""
    source = random.Random(word)
    for number in range(0, files, files // changed)[:changed]:
        path = _path(root, number)
        _, rest = path.read_text().split("\n", 1)
        path.write_text(f"2026-01-01T00:00,{source.gauss(20, 3):.6f}\n{rest}")


def _path(root: Path, number: int) -> Path:
    return root / "raw" / f"day-{number // SENSORS:03}" / f"sensor-{number % SENSORS:03}.csv"


def _reading(source: random.Random, level: float) -> str:
    """Some are missing."""
    return "" if source.random() < 0.02 else f"{source.gauss(level, 1):.6f}"
