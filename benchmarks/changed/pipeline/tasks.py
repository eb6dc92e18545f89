"""The stages as tasks with a cache, and the workflow of all of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from perago import Flow, WorkspaceSpec, task, workflow

from . import stages

OWNER = "benchmarks@example.org"


class Nothing(BaseModel):
    """The stages take no params."""


class Written(BaseModel):
    """The number of files that a stage wrote."""

    files: int


@task(name="clean", owner_email=OWNER, workspace=WorkspaceSpec(include=["raw/**"], outputs=["clean/**"]), cache=True)
def clean(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.clean(workspace))


@task(
    name="measure",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["clean/**"], outputs=["measures/**"]),
    cache=True,
)
def measure(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.measure(workspace))


@task(
    name="daily", owner_email=OWNER, workspace=WorkspaceSpec(include=["measures/**"], outputs=["daily/**"]), cache=True
)
def daily(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.daily(workspace))


@task(
    name="summary", owner_email=OWNER, workspace=WorkspaceSpec(include=["daily/**"], outputs=["summary/**"]), cache=True
)
def summary(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.summary(workspace))


@task(
    name="outliers",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["daily/**", "summary/**"], outputs=["outliers/**"]),
    cache=True,
)
def outliers(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.outliers(workspace))


@task(
    name="report",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["summary/**", "outliers/**"], outputs=["report/**"]),
    cache=True,
)
def report(workspace: Path, params: Nothing) -> Written:
    return Written(files=stages.report(workspace))


@workflow(name="pipeline", owner_email=OWNER)
def pipeline(flow: Flow) -> None:
    for stage in (clean, measure, daily, summary, outliers, report):
        flow.run(stage)
