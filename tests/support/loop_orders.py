"""The loop of a workflow's run with a crew that ends tries in an order that a test chooses: every one, or at random.

A try ends in two steps, as in a thread: its result is recorded, and then the loop can take its end. Either step can
happen whenever the loop looks at something, a wait can be over before or long after its time, and a person can
interrupt the run at any moment.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from perago.engines.local.directory import RunsDirectory
from perago.engines.local.run import WorkflowRun
from perago.engines.local.workflow_record import WorkflowRecord
from perago.errors import EngineError, PublishFenceError, TaskFailed
from perago.running.loop import TryEnd, WorkflowLoop
from perago.running.view import LineView
from perago.testing import ManualClock
from perago.values.models import EngineTask, RuntimeTaskResult
from perago.values.record import TryStatus, WorkflowStatus
from perago.workflows.decide import Decision, Due
from perago.workflows.definition_json import to_json
from perago.workflows.load import LoadedWorkflow

OVERSLEEP_SECONDS = 1_000.0
"""How late a thread can wake up."""

RESULTS = {
    "fails": RuntimeTaskResult("FAILED", None, "it failed"),
    "is refused": RuntimeTaskResult("FAILED_WITH_TERMINAL_ERROR", None, "it was refused"),
}

T = TypeVar("T")


class Seen(BaseException):
    """This state has been explored before."""


class Choices:
    """Chooses at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def __call__(self, count: int) -> int:
        return self._random.randrange(count)

    def at(self, state: Hashable) -> None:
        """Note the state, on which everything that follows depends. Raises `Seen` if it has been explored before."""


class _Path(Choices):
    """Follows a path of choices and their counts, and then takes the first choice each time."""

    def __init__(self, path: list[tuple[int, int]], seen: set[Hashable]) -> None:
        self._path = path
        self._seen = seen
        self._position = 0
        self._known = len(path)

    def __call__(self, count: int) -> int:
        if self._position == len(self._path):
            self._path.append((0, count))
        chosen, before = self._path[self._position]
        assert before == count, "the loop decides the same after the same choices"
        self._position += 1
        return chosen

    def at(self, state: Hashable) -> None:
        if self._position < self._known:
            return
        if state in self._seen:
            raise Seen
        self._seen.add(state)


def every_order(play: Callable[[Choices], T]) -> Iterator[T]:
    """The results of a function that makes choices, one for each combination of choices that leads to a new state."""
    path: list[tuple[int, int]] = []
    seen: set[Hashable] = set()
    while True:
        with suppress(Seen):
            yield play(_Path(path, seen))
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        chosen, count = path[-1]
        path[-1] = (chosen + 1, count)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A workflow, and what befalls it.

    Attributes:
        plans: how the tries of a task end, by its reference name: "fails", "is refused" by the publish fence, or "is
            lost": its report fails. Others complete.
        waits: how many waits may be over while tries run.
        interrupted: a person may interrupt the run.
    """

    workflow: LoadedWorkflow
    jobs: int
    plans: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    waits: int = 0
    interrupted: bool = False


class MemoryRuns(RunsDirectory):
    """A directory of runs that writes nothing."""

    def write(self, record: object) -> None:
        pass


class HeldLock:
    is_held = True

    def release(self) -> None:
        pass


class Broken(AssertionError):
    """The loop broke a promise."""


@dataclass
class _Running:
    """A try that runs."""

    due: Due
    attempt: EngineTask
    is_recorded: bool = False
    error: BaseException | None = None


class Ordered(WorkflowRun):
    """A run that something can happen to before the loop looks at its tries."""

    meanwhile: Callable[[], None]

    @property
    def tries(self):
        self.meanwhile()
        return super().tries


class OrderedCrew:
    """A crew whose tries end as a test chooses."""

    def __init__(self, scene: Scene, run: WorkflowRun, choose: Choices) -> None:
        self.scene = scene
        self.run = run
        self.choose = choose
        self.clock = ManualClock()
        self.cancelled = threading.Event()
        self.running: list[_Running] = []
        self.ends: deque[TryEnd] = deque()
        self.errors: dict[str, BaseException] = {}
        self.waits = scene.waits
        self.may_interrupt = scene.interrupted
        self.of_loop: Callable[[], Hashable] = tuple

    @property
    def is_free(self) -> bool:
        return len(self.running) + len(self.ends) < self.scene.jobs

    def start(self, due: Due, attempt: EngineTask) -> None:
        if not self.is_free:
            raise Broken("more tries run than there are slots")
        if any(one.due.reference_task_name == due.reference_task_name for one in self.running):
            raise Broken(f"two tries of {due.reference_task_name} run at once")
        self.running.append(_Running(due, attempt))

    def next_end(self, seconds: float) -> TryEnd | None:
        self.meanwhile("waiting")
        while not self.ends:
            if not self.running or self.waits > 0:
                self.waits -= bool(self.running)
                self.clock.advance((seconds, OVERSLEEP_SECONDS)[self.choose(2)] if self.running else seconds)
                return None
            self._step(self.choose(len(self.running)))
        return self.ends.popleft()

    def _state(self) -> Hashable:
        return (
            tuple((entry.task_id, entry.reference_task_name, entry.status) for entry in self.run.record.tries),
            tuple((one.attempt.task_id, one.is_recorded, one.error is None) for one in self.running),
            tuple(end.task_id for end in self.ends),
            (self.cancelled.is_set(), self.may_interrupt, self.waits, self.clock.monotonic()),
            frozenset(self.errors),
            self.of_loop(),
        )

    def meanwhile(self, where: str = "deciding") -> None:
        """Any number of steps."""
        while options := len(self.running) + self.may_interrupt:
            self.choose.at((where, self._state()))
            chosen = self.choose(1 + options) - 1
            if chosen < 0:
                return
            if chosen == len(self.running):
                self.may_interrupt = False
                self.cancelled.set()
            else:
                self._step(chosen)

    def _step(self, index: int) -> None:
        one = self.running[index]
        if one.is_recorded:
            self.running.remove(one)
            self.ends.append(TryEnd(one.attempt.task_id, one.error))
        else:
            one.is_recorded = True
            self._record(one)

    def _record(self, one: _Running) -> None:
        plan = self.scene.plans.get(one.due.reference_task_name, ())
        how = plan[one.attempt.retry_count] if one.attempt.retry_count < len(plan) else "completes"
        now = self.run.find_attempt(one.attempt.task_id)
        is_cancelled = self.cancelled.is_set() or now.status == TryStatus.CANCELED
        if is_cancelled and (how != "completes" or self.choose(2)):
            return
        if how == "is lost":
            one.error = EngineError("the disk is full")
            return
        if how != "completes":
            one.error = (PublishFenceError if how == "is refused" else TaskFailed)(one.attempt.task_id)
            self.errors[one.due.reference_task_name] = one.error
        completed = RuntimeTaskResult("COMPLETED", {"result": {"count": one.attempt.retry_count}})
        self.run.report(one.attempt.task_id, RESULTS.get(how, completed))


@dataclass(frozen=True)
class Came:
    """Result of a run."""

    decision: Decision
    record: WorkflowRecord
    error: BaseException | None
    errors: Mapping[str, BaseException]

    @property
    def tries(self) -> dict[str, list[str]]:
        """The statuses of the tries of each task."""
        found: dict[str, list[str]] = {}
        for entry in self.record.tries:
            found.setdefault(entry.reference_task_name, []).append(entry.status.value)
        return found

    @property
    def again(self) -> Counter[str]:
        """Tasks that were run again although they had completed."""
        return Counter(
            name for name, statuses in self.tries.items() for status in statuses[:-1] if status == TryStatus.COMPLETED
        )


def played(
    scene: Scene, choose: Choices, record: WorkflowRecord | None = None, loop_type: type[WorkflowLoop] = WorkflowLoop
) -> Came:
    """One run in one order.

    Args:
        record: of a run to resume.

    Raises:
        Broken: the loop broke a promise.
    """
    clock = ManualClock()
    record = record or WorkflowRecord(
        run_id="20260101-000000-aaaaaa",
        target="t",
        name=scene.workflow.graph.name,
        definition=to_json(scene.workflow.graph, whole=True),
        input_data={"params": {}},
        params_exact=True,
        started_time=0,
    )
    run = Ordered(MemoryRuns(Path(), clock), HeldLock(), record, record.input_data, lambda _: None)
    crew = OrderedCrew(scene, run, choose)
    run.meanwhile = crew.meanwhile
    view = LineView(lambda _line: None)
    loop = loop_type(scene.workflow, run, crew, view, crew.cancelled, crew.clock, fast=False)
    crew.of_loop = partial(_state_of, loop)
    decision = loop.go()
    came = Came(decision, run.record, loop.error, crew.errors)
    if crew.running or crew.ends:
        raise Broken("tries still run after the end")
    if any(entry.status.is_live for entry in came.record.tries) or came.record.status is not decision.status:
        raise Broken(f"the record is not ended: {came.record}")
    if came.again:
        raise Broken(f"completed tasks ran again: {came.again}")
    if decision.status is WorkflowStatus.FAILED and came.error is not crew.errors[_innermost(decision, came.record)]:
        raise Broken(f"the error {came.error!r} is not that of the task that failed the workflow: {decision.reason}")
    return came


def _state_of(loop: WorkflowLoop) -> Hashable:
    inside = vars(loop)
    errors = tuple(sorted((name, str(error)) for name, error in inside["_errors"].items()))
    return frozenset(inside["_started"]), errors, frozenset(inside["_not_before"].items())


def _innermost(decision: Decision, record: WorkflowRecord) -> str:
    """The task that failed the workflow, or the sub-workflow that did."""
    reason, name = decision.reason, ""
    while reason is not None and reason.startswith("task '"):
        inner = reason.removeprefix("task '").partition("'")[0]
        name = f"{name}/{inner}" if name else inner
        reason = reason.partition(": ")[2]
    return name
