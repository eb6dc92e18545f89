"""A task that changes files, alone and as a transactional run: what its beginning and its end take."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from benchmarks.compare import Spread
from benchmarks.inputs import Content
from benchmarks.scoped.place import Place, counted
from benchmarks.tables import seconds_text
from perago.engines.local import LocalEngine
from perago.tasks.declare import TaskDefinition, task, task_of
from perago.values.json_text import JsonObject
from perago.values.spec import WorkspaceSpec
from perago.workflows.builtin import builtin_task
from perago.workflows.graph import BEGIN_TASK, END_TASK

AT_MOST_CALLS = 14
"""Required of the beginning and the end together, on a server."""


@dataclass(frozen=True)
class RunTimes:
    """Seconds of a task alone, of it as a run, and of the beginning and end of that, with the calls of the two."""

    plain: Spread
    run: Spread
    around: Spread
    calls: int


class Params(BaseModel):
    """The `word` that each file gets."""

    word: str


class Result(BaseModel):
    pass


@task(name="change", owner_email="benchmarks@example.org", workspace=WorkspaceSpec(prefix="data"))
def change(workspace: Path, params: Params) -> Result:
    """Change all files."""
    for path in workspace.rglob("*"):
        if path.is_file():
            path.write_text(params.word)
    return Result()


def measure_runs(place: Place, files: int, rounds: int) -> RunTimes:
    """The task alone and as a run, in turns. The first round does not count."""
    with tempfile.TemporaryDirectory(dir=place.directory) as source:
        Content(files, 16).write(Path(source) / "data")
        place.repository.import_directory(Path(source), "main", "begin")
    engine = LocalEngine(place.directory / f"runs-{place.name}")
    plain, run, around, calls = [], [], [], 0
    for _ in range(rounds + 1):
        plain.append(_plain(place, engine))
        took, own, made = _run(place, engine)
        run.append(took)
        around.append(own)
        calls = max(calls, made) if len(run) > 1 else 0
    return RunTimes(Spread.of(plain[1:]), Spread.of(run[1:]), Spread.of(around[1:]), calls)


def _plain(place: Place, engine: LocalEngine) -> float:
    """Seconds of the task on the branch."""
    began = time.perf_counter()
    _completed(place, engine, _CHANGE, place.input(place.repository.resolve("main")).model_dump(), _word())
    return time.perf_counter() - began


def _run(place: Place, engine: LocalEngine) -> tuple[float, float, int]:
    """Seconds of the task as a run, those of the run's beginning and end, and the calls of these."""
    began = time.perf_counter()
    with counted() as beginning:
        given = {"repository": place.name, "branch": "main"}
        instance = uuid.uuid4().hex
        begun = _completed(place, engine, builtin_task(BEGIN_TASK), given, {}, instance)
    middle = time.perf_counter()
    changed = _completed(place, engine, _CHANGE, begun["workspace"], _word(), instance)
    ending_began = time.perf_counter()
    params = {"workflow": "change", "run": changed["workspace"], "scopes": [{"prefix": "data"}]}
    with counted() as ending:
        _completed(place, engine, builtin_task(END_TASK), begun["result"]["target"], params, instance)
    end = time.perf_counter()
    return end - began, end - ending_began + middle - began, len(beginning) + len(ending)


def _word() -> JsonObject:
    return {"word": uuid.uuid4().hex[:16]}


def _completed(
    place: Place,
    engine: LocalEngine,
    definition: TaskDefinition,
    workspace: JsonObject,
    params: JsonObject,
    of: str | None = None,
) -> JsonObject:
    """The output of one attempt."""
    result = place.attempt(definition, {"workspace": workspace, "params": params}, engine, of)
    assert result.output is not None, result
    return result.output


def begun_and_ended(name: str, found: Mapping[int, RunTimes]) -> str:
    """One line on what a run takes beyond its tasks."""
    told = ", ".join(f"{seconds_text(times.around)} with {files:,} changed files" for files, times in found.items())
    calls = found[min(found)].calls
    reached = "reached" if calls <= AT_MOST_CALLS else "**not reached**"
    limit = f", {calls} calls with {min(found):,} files, required at most {AT_MOST_CALLS}: {reached}" if calls else ""
    return f"{name}: beginning and end of a transactional run: {told}{limit}"


def report_of_runs(name: str, found: Mapping[int, RunTimes]) -> Iterator[str]:
    """The table."""
    yield f"### {name}: a task alone and as a transactional run"
    yield ""
    yield "| changed files | task alone | as a run | of it, beginning and end | their calls |"
    yield "|---|---|---|---|---|"
    for files, times in found.items():
        sides = " | ".join(seconds_text(side) for side in (times.plain, times.run, times.around))
        yield f"| {files:,} | {sides} | {times.calls} |"
    yield ""


def _definition() -> TaskDefinition:
    found = task_of(change)
    assert found is not None, "it is decorated"
    return found


_CHANGE = _definition()
