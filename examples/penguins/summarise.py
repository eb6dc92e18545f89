"""Summarise the tables that `clean` published: number and size of birds, by species and sex."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from pydantic import BaseModel

from penguins.tables import MEASURES, Penguin, read_penguins, write_rows
from perago import WorkspaceSpec, require_file, require_glob, task


class SummariseParams(BaseModel):
    by_sex: bool = False


class SummariseResult(BaseModel):
    penguins: int
    groups: int
    heaviest: str


@task(
    name="summarise_penguins",
    owner_email="penguins@example.org",
    description="Clean tables in, one table of means and standard deviations out.",
    workspace=WorkspaceSpec(
        include=["clean/*.csv"],
        outputs=["reports/summary.csv"],
        pre=[require_glob("clean/*.csv")],
        post=[require_file("reports/summary.csv")],
    ),
    cache=True,
)
def summarise(workspace: Path, params: SummariseParams) -> SummariseResult:
    penguins = read_penguins(workspace / "clean")
    groups: dict[str, list[Penguin]] = defaultdict(list)
    for penguin in penguins:
        sex = f" {penguin.sex or 'of unknown sex'}" if params.by_sex else ""
        groups[penguin.species + sex].append(penguin)

    columns = ["group", "penguins", *(f"{statistic}_{name}" for name in MEASURES for statistic in ("mean", "sd"))]
    write_rows(
        workspace / "reports" / "summary.csv",
        columns,
        ([name, len(group), *_statistics(group)] for name, group in sorted(groups.items())),
    )
    return SummariseResult(
        penguins=len(penguins),
        groups=len(groups),
        heaviest=max(groups, key=lambda name: mean(penguin.body_mass_g for penguin in groups[name])),
    )


def _statistics(group: list[Penguin]) -> list[float]:
    columns = list(zip(*(penguin.measures for penguin in group), strict=True))
    return [round(statistic(column), 2) for column in columns for statistic in (mean, _spread)]


def _spread(column: tuple[float, ...]) -> float:
    return stdev(column) if len(column) > 1 else 0.0
