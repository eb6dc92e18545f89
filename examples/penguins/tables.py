"""Read and write CSV files, and the row type that the tasks share."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel

MEASURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")


class Penguin(BaseModel):
    """One bird. Lengths in millimetres, mass in grams. None means not recorded."""

    species: str
    island: str
    year: int
    sex: str | None
    bill_length_mm: float
    bill_depth_mm: float
    flipper_length_mm: float
    body_mass_g: float

    @property
    def measures(self) -> tuple[float, ...]:
        return (self.bill_length_mm, self.bill_depth_mm, self.flipper_length_mm, self.body_mass_g)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_penguins(directory: Path) -> list[Penguin]:
    """Read all birds from the clean tables, one table per species."""
    return [
        Penguin.model_validate({key: value or None for key, value in row.items()})
        for path in sorted(directory.glob("*.csv"))
        for row in read_rows(path)
    ]


def write_penguins(path: Path, penguins: Iterable[Penguin]) -> None:
    write_rows(path, list(Penguin.model_fields), (list(penguin.model_dump().values()) for penguin in penguins))
