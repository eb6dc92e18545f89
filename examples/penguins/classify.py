"""Predict the species of each bird from its nearest neighbours. Read-only: changes no file."""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from math import dist
from pathlib import Path
from statistics import mean, stdev

from pydantic import BaseModel, Field

from penguins.tables import read_penguins
from perago import TaskContext, WorkspaceSpec, require_glob, task


class ClassifyParams(BaseModel):
    neighbours: int = Field(default=5, ge=1)


class ClassifyResult(BaseModel):
    penguins: int
    accuracy: float
    confused: dict[str, int]


@task(
    name="classify_penguins",
    owner_email="penguins@example.org",
    description="How well do four measures predict the species? Each bird is compared with all others.",
    workspace=WorkspaceSpec(prefix="clean", pre=[require_glob("*.csv", min_count=2)], read_only=True),
)
def classify(workspace: Path, params: ClassifyParams, context: TaskContext) -> ClassifyResult:
    penguins = read_penguins(workspace)
    points = _standardised([penguin.measures for penguin in penguins])
    confused: Counter[str] = Counter()
    for index, penguin in enumerate(penguins):
        context.raise_if_cancelled()
        others = (other for other in range(len(points)) if other != index)
        nearest = nsmallest(params.neighbours, others, key=lambda other: dist(points[index], points[other]))
        votes = Counter(penguins[other].species for other in nearest)
        guess = votes.most_common(1)[0][0]
        if guess != penguin.species:
            confused[f"{penguin.species} taken for {guess}"] += 1
        context.progress(index + 1, len(penguins), "birds")
    accuracy = 1 - confused.total() / len(penguins)
    return ClassifyResult(penguins=len(penguins), accuracy=round(accuracy, 4), confused=dict(confused))


def _standardised(rows: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Each measure in standard deviations from its mean, so that grams do not outweigh millimetres."""
    scales = [(mean(column), stdev(column)) for column in zip(*rows, strict=True)]
    return [
        tuple((value - centre) / spread for value, (centre, spread) in zip(row, scales, strict=True)) for row in rows
    ]
