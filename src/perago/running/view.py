"""What is shown of a workflow while it runs: the state of each task."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from perago.ports import Event, Phase
from perago.running.progress import describe_counts, describe_progress
from perago.running.text import printable
from perago.tasks.declare import BUILTIN_TASKS
from perago.telemetry.logs import warning_for
from perago.values.record import WITHIN, TryStatus
from perago.workflows.forks import known_fork
from perago.workflows.graph import DynamicForkNode, ForkNode, Nodes, SubWorkflowNode, SwitchNode, TaskNode, parts_of

_SHORT_COMMIT = 12


_SIGNS = {
    TryStatus.IN_PROGRESS: "…",
    TryStatus.COMPLETED: "✓",
    TryStatus.COMPLETED_WITH_ERRORS: "!",
    TryStatus.CANCELED: "-",
}
"""Of a task's state; of others that a task failed."""

_WORDS = {TryStatus.COMPLETED: "done", TryStatus.IN_PROGRESS: "running", TryStatus.CANCELED: "cancelled"}
"""For the tasks of a map; others have failed."""

_UNSEEN = (None, TryStatus.IN_PROGRESS, TryStatus.COMPLETED)
"""Of a task of Perago."""


Kind = Literal["task", "map", "builtin"]


@dataclass
class TaskState:
    """What is shown of a task.

    Attributes:
        depth: number of forks, switches and sub-workflows around it.
        status: of its newest try; None before the first.
        text: its phase or progress; what it did, once it has ended.
        since: start of that try, monotonic seconds.
        seconds: of a try that has ended.
        kind: a map is one row for all its tasks; a task of Perago is only shown if it fails.
        within: reference name of the map that it belongs to.
    """

    reference_name: str
    depth: int = 0
    kind: Kind = "task"
    within: str | None = None
    status: TryStatus | None = None
    tries: int = 0
    text: str = ""
    since: float = 0.0
    seconds: float | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)


class WorkflowView(ABC):
    """Shows a workflow: it keeps the states of the tasks, and a subclass says how they are shown. For any thread."""

    def __init__(self, states: Iterable[TaskState] = ()) -> None:
        self._lock = threading.Lock()
        self._states = {state.reference_name: state for state in states}

    def schedule(self, reference_names: Iterable[str]) -> None:
        """Tasks are due, and may have been told so before."""
        with self._lock:
            for name in reference_names:
                _state_of(self._states, name)

    def begin(self, reference_name: str, number: int) -> None:
        """A try begins, the first, second, …"""
        with self._lock:
            state = _begun(self._states, reference_name, number)
        if state.kind != "builtin":
            self._tell_start(state)

    def show(self, reference_name: str, event: Event) -> None:
        """Something happened in a try."""
        with self._lock:
            _take(self._states, reference_name, event)
        caution = warning_for(event.phase, event.attributes) if event.kind == "progress" else None
        if caution is not None:
            self.warn(f"{reference_name}: warning: {caution}")

    def end(
        self,
        reference_name: str,
        status: TryStatus,
        ref: str | None,
        reason: str | None,
        *,
        seconds: float | None = None,
    ) -> None:
        """A try has ended.

        Args:
            ref: the commit that it completed with.
            seconds: that it took. Default: since it began here.
        """
        with self._lock:
            state = _ended(self._states[reference_name], status, ref, reason, seconds)
        if state.kind != "builtin" or status is not TryStatus.COMPLETED:
            self._tell_end(state)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The sign, name with its indentation, seconds and text of each task, and of each map."""
        now = time.monotonic()
        with self._lock:
            of_maps: dict[str, list[TaskState]] = {}
            for state in self._states.values():
                of_maps.setdefault(state.within or "", []).append(state)
            return [
                _row_of_map(state, of_maps.get(state.reference_name, []), now)
                if state.kind == "map"
                else _row(state, now)
                for state in of_maps.get("", [])
                if state.kind != "builtin" or state.status not in _UNSEEN
            ]

    def refresh(self) -> None:  # noqa: B027 - lines do not move, and a terminal has a thread of its own
        """Called a few times a second by the thread that waits for the run."""

    def printed(self, reference_name: str, line: str) -> None:
        """A body has printed a line."""
        self.line(f"{reference_name}: {line}")

    @abstractmethod
    def line(self, text: str) -> None:
        """See `Lines.line`."""

    def warn(self, text: str) -> None:
        """Show a warning."""
        self.line(text)

    def _tell_start(self, state: TaskState) -> None:  # noqa: B027 - a tree shows it anyway
        """Tell of a try that has begun."""

    @abstractmethod
    def _tell_end(self, state: TaskState) -> None:
        """Tell of a try that has ended."""


class LineView(WorkflowView):
    """Plain lines: the start and the end of each try.

    Args:
        tell: prints a line.
    """

    def __init__(self, tell: Callable[[str], None], states: Iterable[TaskState] = ()) -> None:
        super().__init__(states)
        self._tell = tell

    def line(self, text: str) -> None:
        self._tell(text)

    def _tell_start(self, state: TaskState) -> None:
        how = "started" if state.tries == 1 else f"try {state.tries} started"
        self._tell(f"{state.reference_name}: {how}")

    def _tell_end(self, state: TaskState) -> None:
        behind = f", {state.text}" if state.text else ""
        self._tell(f"{state.reference_name}: {state.status} in {state.seconds or 0:.1f} s{behind}")


class TaskDisplay:
    """The part of a view that shows one task. See `progress.Display`."""

    def __init__(self, view: WorkflowView, reference_name: str) -> None:
        self._view = view
        self._reference_name = reference_name

    def __call__(self, event: Event, /) -> None:
        self._view.show(self._reference_name, event)

    def line(self, text: str) -> None:
        self._view.line(f"{self._reference_name}: {text}")


def states_of(nodes: Nodes, depth: int, within: str = "") -> Iterator[TaskState]:
    """The tasks and maps of a graph in order."""
    for index, node in enumerate(nodes):
        fork = known_fork(nodes, index)
        if fork is not None and fork.mapped is not None:
            yield TaskState(within + fork.mapped, depth, "map")
        if isinstance(node, TaskNode):
            kind: Kind = "builtin" if node.task_name in BUILTIN_TASKS else "task"
            yield TaskState(within + node.reference_name, depth, kind)
        if isinstance(node, SubWorkflowNode):
            yield TaskState(within + node.reference_name, depth)
        if isinstance(node, SubWorkflowNode) and node.graph is not None:
            yield from states_of(node.graph.nodes, depth + 1, within + node.reference_name + WITHIN)
        for part in parts_of(node):
            yield from states_of(part, depth + isinstance(node, ForkNode | SwitchNode | DynamicForkNode), within)


def _state_of(states: dict[str, TaskState], name: str) -> TaskState:
    """The state of a task, which a dynamic fork may have added."""
    of, _, number = name.rpartition("_")
    of_map = number.isdecimal() and of in states and states[of].kind == "map"
    return states.setdefault(name, TaskState(name, depth=1 + name.count(WITHIN), within=of if of_map else None))


def _begun(states: dict[str, TaskState], name: str, number: int) -> TaskState:
    state = _state_of(states, name)
    state.status, state.since, state.seconds = TryStatus.IN_PROGRESS, time.monotonic(), None
    state.tries, state.text, state.counts = number, "", {}
    return state


def _take(states: dict[str, TaskState], name: str, event: Event) -> None:
    state = states[name]
    if event.kind == "started":
        state.text = str(event.phase)
    elif event.kind == "progress":
        state.text = f"{event.phase}: {describe_progress(event)}"
    elif event.kind == "completed" and event.phase is Phase.DIFF:
        state.counts = event.attributes


def _ended(
    state: TaskState, status: TryStatus, ref: str | None, reason: str | None, seconds: float | None
) -> TaskState:
    state.status, state.seconds = status, time.monotonic() - state.since if seconds is None else seconds
    done = [describe_counts(state.counts)] if state.counts else []
    done += [f"commit {ref[:_SHORT_COMMIT]}"] if ref is not None else []
    state.text = ", ".join(done) if status is TryStatus.COMPLETED else printable(reason or "")
    return state


def _row(state: TaskState, now: float) -> tuple[str, str, str, str]:
    sign = " " if state.status is None else _SIGNS.get(state.status, "✗")
    seconds = now - state.since if state.seconds is None else state.seconds
    took = "" if state.status is None else f"{seconds:.1f} s"
    tries = f"try {state.tries} " if state.tries > 1 else ""
    name = state.reference_name.rpartition(WITHIN)[2]
    return sign, f"{'  ' * state.depth}{printable(name)}", took, f"{tries}{state.text}"


def _row_of_map(state: TaskState, tasks: list[TaskState], now: float) -> tuple[str, str, str, str]:
    begun = [task for task in tasks if task.status is not None]
    counts = Counter(_WORDS.get(task.status, "failed") for task in begun if task.status is not None)
    text = ", ".join(f"{counts[word]} {word}" for word in dict.fromkeys([*_WORDS.values(), "failed"]) if counts[word])
    shown = printable(state.reference_name.rpartition(WITHIN)[2])
    name = f"{'  ' * state.depth}{shown} ×{len(tasks) or '…'}"
    if not begun:
        return " ", name, "", text
    is_over = len(begun) == len(tasks) and not counts["running"]
    sign = "✗" if counts["failed"] else "✓" if is_over else "…"
    until = max(task.since + (now - task.since if task.seconds is None else task.seconds) for task in begun)
    return sign, name, f"{(until if is_over else now) - min(task.since for task in begun):.1f} s", text
