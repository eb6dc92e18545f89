"""Clean the field notes: plain names and numbers, one table per species, without birds that lack measures."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, Field

from penguins.tables import Penguin, read_rows, write_penguins
from perago import TaskContext, WorkspaceSpec, require_file, require_glob, task

NOT_RECORDED = ("NA", "", ".")


class CleanParams(BaseModel):
    islands: list[str] = Field(default=[], description="Keep only birds of these islands. Empty means all islands.")


class CleanResult(BaseModel):
    read: int
    kept: int
    by_species: dict[str, int]


@task(
    name="clean_penguins",
    owner_email="penguins@example.org",
    description="Raw field notes in, one clean table per species out.",
    workspace=WorkspaceSpec(
        include=["raw/**"],
        outputs=["clean/**"],
        pre=[require_file("raw/penguins.csv")],
        post=[require_glob("clean/*.csv")],
    ),
    cache=True,
)
def clean(workspace: Path, params: CleanParams, context: TaskContext) -> CleanResult:
    notes = read_rows(workspace / "raw" / "penguins.csv")
    kept: list[Penguin] = []
    for done, note in enumerate(notes, start=1):
        penguin = _clean(note)
        if penguin is not None and (not params.islands or penguin.island in params.islands):
            kept.append(penguin)
        context.progress(done, len(notes), "birds")

    by_species: dict[str, int] = {}
    for species, group in groupby(sorted(kept, key=lambda penguin: penguin.species), lambda penguin: penguin.species):
        penguins = list(group)
        write_penguins(workspace / "clean" / f"{species.lower()}.csv", penguins)
        by_species[species] = len(penguins)
    return CleanResult(read=len(notes), kept=len(kept), by_species=by_species)


def _clean(note: dict[str, str]) -> Penguin | None:
    """Convert one row of the field notes. Returns None if a measure is missing."""
    measures = {
        "bill_length_mm": note["Culmen Length (mm)"],
        "bill_depth_mm": note["Culmen Depth (mm)"],
        "flipper_length_mm": note["Flipper Length (mm)"],
        "body_mass_g": note["Body Mass (g)"],
    }
    if any(value in NOT_RECORDED for value in measures.values()):
        return None
    return Penguin(
        species=note["Species"].split()[0],
        island=note["Island"],
        year=int(note["Date Egg"][:4]),
        sex=None if note["Sex"] in NOT_RECORDED else note["Sex"].lower(),
        **{name: float(value) for name, value in measures.items()},
    )
