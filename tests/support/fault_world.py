"""A workflow of one task on one branch, run with faults, and then without until it has ended."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from attempt_ports import ports_of
from fault_stores import Repository
from perago import WorkspaceSpec, run_workspace_task_attempt, task
from perago.attempt.phases import Phases
from perago.attempt.report import last_look, report_attempt
from perago.errors import EngineError, PeragoError
from perago.ports import Engine, WorkspaceStore, ignore
from perago.testing import ManualClock, MemoryAttempt, MemoryEngine
from perago.workspace.directory import OWNER_FILE
from perago.workspace.janitor import sweep as sweep_attempt_directories
from perago.workspace.patterns import visible_to
from simulation.checker import Call, Observation, violations
from simulation.faults import Crash, Faults, Tap

T = TypeVar("T")
RETRIES = 8


class Params(BaseModel):
    text: str = "hello"


class Result(BaseModel):
    said: str


Body = Callable[[Path, Params], None]


def write(workspace: Path, params: Params) -> None:
    (workspace / "out.txt").write_text(params.text)
    (workspace / "old.txt").unlink()


def nothing(workspace: Path, params: Params) -> None:
    return None


BEFORE = {"in.txt": "input", "old.txt": "old", "sub/kept.txt": "kept"}
AFTER = {"in.txt": b"input", "sub/kept.txt": b"kept", "out.txt": b"hello"}
UNCHANGED = {path: text.encode() for path, text in BEFORE.items()}


@dataclass(frozen=True)
class Scenario:
    """What one run is about.

    Attributes:
        body: what the task does.
        spec: of its workspace.
        before: what happened before the try that meets the fault.
        content: of the branch when the task has completed and nobody else committed; None: it is refused.
        conflict: a path that a refusal may name in place of a foreign commit.
    """

    body: Body = write
    spec: WorkspaceSpec = field(default_factory=WorkspaceSpec)
    before: Callable[[World], object] = lambda _: None
    content: dict[str, bytes] | None = field(default_factory=lambda: AFTER)
    conflict: str | None = None


class Watch(Tap):
    """Writes down each call of an execution that has its effect, and the head after it."""

    def __init__(self, world: World, attempt: MemoryAttempt, execution: str) -> None:
        self._world, self._attempt, self._execution = world, attempt, execution

    def meet(self, point: str, call: Callable[[], T]) -> T:
        self._world.calls.append(Call(self._execution, point, self._world.is_current(self._attempt)))
        try:
            return call()
        finally:
            self._world.look()


class World:
    """One run of a scenario. The `plant_…` functions put a bug in, `wrap_store` one that sees the faults."""

    def __init__(self, directory: Path, repository: type[Repository], scenario: Scenario) -> None:
        self.clock = ManualClock()
        directory.mkdir(parents=True)
        self.directory = directory
        self.repository = repository(directory, self.clock)
        self.engine = MemoryEngine(self.clock, retries=RETRIES)
        self.root = directory / "workspaces"
        self.scenario = scenario
        self.calls: list[Call] = []
        self.people: list[str] = []
        self.reason = ""
        self.runs = 0
        self.wrap_store: Callable[[WorkspaceStore], WorkspaceStore] = lambda store: store
        self.plant_store: Callable[[WorkspaceStore], WorkspaceStore] = lambda store: store
        self.plant_engine: Callable[[Engine], Engine] = lambda engine: engine
        self.input_ref = self.repository.commit(BEFORE)
        self.heads = {self.input_ref}
        self.task = self._make_task(scenario)
        workspace = self.repository.input(self.input_ref).model_dump()
        self.engine.schedule("say", {"workspace": workspace, "params": {}})
        self._tries = 0

    def _make_task(self, scenario: Scenario):
        world = self

        @task(name="say", owner_email="ada@example.org", workspace=scenario.spec)
        def say(workspace: Path, params: Params) -> Result:
            world.runs += 1
            scenario.body(workspace, params)
            return Result(said=params.text)

        return say.__perago_task__

    # ---- what happens

    def run_try(
        self, faults: Faults | None = None, *, report: bool = True, observed: bool = True, **params: str
    ) -> None:
        """Deliver a task and run it as a worker does."""
        attempt = self.engine.poll()
        assert attempt is not None, "nothing is scheduled"
        self.run(attempt, faults or Faults(), report=report, observed=observed, **params)

    def run(
        self, attempt: MemoryAttempt, faults: Faults, *, report: bool = True, observed: bool = True, **params: str
    ) -> None:
        self._tries += 1
        if params:
            attempt = replace(attempt, input_data={**attempt.input_data, "params": params})
        watch = Watch(self, attempt, f"{attempt.task_id}#{self._tries}")
        store = self.wrap_store(faults.store(watch.store(self.plant_store(self.repository.store))))
        engine = faults.engine(watch.engine(self.plant_engine(self.engine)))
        observer = faults.observer(ignore) if observed else ignore
        result = run_workspace_task_attempt(
            self.task,
            attempt.input_data,
            attempt,
            self.root,
            **ports_of(store, engine),
            observer=observer,
            clock=self.clock,
            execution_id=f"{self._tries}x",
        )
        self.reason = result.reason_for_incompletion or ""
        if not report:
            return
        phases = Phases(observer, self.clock, execution_id="", task_id=attempt.task_id)
        look = last_look(
            self.task,
            attempt.input_data,
            attempt,
            read_history=store.read_history,
            load_record=engine.load_record,
        )
        try:
            report_attempt(engine, attempt, result, phases, last_look=look)
        except (PeragoError, Crash):
            return  # the worker gives up; the engine will notice

    def is_current(self, attempt: MemoryAttempt) -> bool:
        try:
            now = self.engine.attempt(attempt.task_id)
        except EngineError:
            return False
        same = (now.scheduled_time, now.poll_count) == (attempt.scheduled_time, attempt.poll_count)
        return same and now.status == "IN_PROGRESS"

    def look(self) -> None:
        self.heads.add(self.repository.head())

    def person(self, **files: str) -> None:
        self.people.append(self.repository.commit({name.replace("_", "."): text for name, text in files.items()}))
        self.look()

    @property
    def live(self) -> str | None:
        """Id of the try that a worker has."""
        tries = self.engine.record().tries
        return next((entry.task_id for entry in tries if entry.status == "IN_PROGRESS"), None)

    def time_out(self) -> None:
        """The engine gives up on whoever has the task; nothing happens if nobody has."""
        if self.live is not None:
            self.engine.timeout(self.live)

    def another_worker(self) -> None:
        """The engine times the task out, and another worker does the next try, whole."""
        if self.live is not None:
            self.engine.timeout(self.live)
            self.run_try()

    def requeued(self) -> None:
        """The engine gives the same try to another worker, who does it whole."""
        if self.live is not None:
            self.engine.requeue(self.live)
            self.run_try()

    def terminated(self) -> None:
        if self.engine.status() == "RUNNING":
            self.engine.terminate()

    def restarted(self) -> None:
        if self.live is not None:
            self.engine.terminate()
            self.engine.restart()

    def rerun(self) -> None:
        live = self.live
        if live is not None:
            self.engine.terminate()
            self.engine.rerun(live)

    # ---- the end

    def settle(self) -> None:
        """Faults stop: the engine gives up on whom it still waits for, and there is one more try."""
        self.time_out()
        if self.engine.status() in ("TERMINATED", "FAILED"):
            self.engine.retry_workflow()
        if self.engine.status() != "COMPLETED":
            self.run_try()

    def sweep(self) -> None:
        """The janitors, after the process that ran the tries has ended."""
        self.repository.clean()
        for marker in self.root.glob(f"*/{OWNER_FILE}"):
            marker.write_text(json.dumps(json.loads(marker.read_text()) | {"process_started": 0}))
        sweep_attempt_directories(self.root, 0, time.time() + 60)

    def broken_promises(self) -> list[str]:
        """What should hold when a run has ended, and does not."""
        self.look()
        seen = Observation(
            root=self.input_ref,
            line=self.repository.line(self.input_ref),
            heads=self.heads,
            records=(self.engine.record(),),
            files=self.repository.files,
            snapshot=("say",) if self.scenario.spec.isolation == "snapshot" else (),
            scopes={"say": visible_to(self.scenario.spec)} if self.scenario.spec.isolation == "serializable" else {},
            calls=self.calls,
            left=[*self.repository.left(), *self._attempt_directories()],
        )
        return violations(seen) + self._wrong_outcome()

    def remove(self) -> None:
        shutil.rmtree(self.directory)

    def _attempt_directories(self) -> list[str]:
        return [path.name for path in self.root.iterdir()] if self.root.exists() else []

    def _wrong_outcome(self) -> list[str]:
        if self.engine.status() != "COMPLETED":
            return [] if self._names_what_stands_in_the_way(self.reason) else [f"stuck: {self.reason}"]
        if self.scenario.content is None:
            return ["completed, and should have been refused"]
        ref = next(entry.output_ref for entry in self.engine.record().tries if entry.output_ref is not None)
        content, expected = self.repository.files(ref), self.scenario.content
        theirs = {path for person in self.people for path in self._changed_by(person)}
        ours = (content.keys() | expected.keys()) - theirs
        return [f"wrong content of {path}" for path in sorted(ours) if content.get(path) != expected.get(path)]

    def _changed_by(self, ref: str) -> set[str]:
        before, after = self.repository.files(self.repository.parent(ref)), self.repository.files(ref)
        return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}

    def _names_what_stands_in_the_way(self, reason: str) -> bool:
        conflict = self.scenario.conflict
        return any(ref[:12] in reason for ref in self.people) or (conflict is not None and repr(conflict) in reason)
