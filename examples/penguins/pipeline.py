"""The three tasks as one workflow: clean, then summarise and classify side by side."""

from __future__ import annotations

from pydantic import BaseModel, Field

from penguins.classify import classify
from penguins.clean import clean
from penguins.summarise import summarise
from perago import Flow, workflow


class PenguinParams(BaseModel):
    islands: list[str] = Field(default=[], description="Keep only birds of these islands. Empty means all islands.")
    neighbours: int = Field(default=5, ge=1)


class PenguinReport(BaseModel):
    kept: int
    heaviest: str
    accuracy: float


@workflow(name="penguins", owner_email="penguins@example.org", description="From field notes to a report.")
def penguins(flow: Flow, params: PenguinParams) -> PenguinReport:
    cleaned = flow.run(clean, islands=params.islands)
    with flow.parallel():
        summary = flow.run(summarise, by_sex=True)
        classified = flow.run(classify, neighbours=params.neighbours)
    return flow.output(PenguinReport, kept=cleaned.kept, heaviest=summary.heaviest, accuracy=classified.accuracy)
