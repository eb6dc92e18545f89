"""Shows a workflow while it runs: a tree of its tasks on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from perago.cli.output import is_plain, note, printable, printable_lines, terminal_columns
from perago.cli.progress import MIN_MOVING_COLUMNS, Lines, describe_counts, describe_progress
from perago.ports import Event, Phase
from perago.telemetry.logs import warning_for
from perago.values.record import WITHIN, TryStatus
from perago.workflows.graph import (
    DynamicForkNode,
    ForkNode,
    Nodes,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
    WorkflowGraph,
    parts_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESHES_A_SECOND = 8
_SHORT_COMMIT = 12
_SIGNS = {
    TryStatus.IN_PROGRESS: "…",
    TryStatus.COMPLETED: "✓",
    TryStatus.COMPLETED_WITH_ERRORS: "!",
    TryStatus.CANCELED: "-",
}
"""Of a task's state; of others that a task failed."""


@dataclass
class TaskState:
    """What is shown of a task.

    Attributes:
        depth: number of forks, switches and sub-workflows around it.
        status: of its newest try; None before the first.
        text: its phase or progress; what it did, once it has ended.
        since: start of that try, monotonic seconds.
        seconds: of a try that has ended.
    """

    reference_name: str
    depth: int = 0
    status: TryStatus | None = None
    tries: int = 0
    text: str = ""
    since: float = 0.0
    seconds: float | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)


class WorkflowView(Lines, Protocol):
    """Shows a workflow. For any thread."""

    def begin(self, reference_name: str, number: int) -> None:
        """A try begins, the first, second, …"""
        ...

    def show(self, reference_name: str, event: Event) -> None:
        """Something happened in a try."""
        ...

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
        ...


@contextmanager
def open_view(graph: WorkflowGraph) -> Iterator[WorkflowView]:
    """Open the view that fits stderr."""
    columns = terminal_columns(sys.stderr)
    if is_plain(sys.stderr) or columns is None or columns < MIN_MOVING_COLUMNS:
        yield LineView()
        return
    tree = TreeView(graph, sys.stderr)
    with tree.live():
        yield tree


class _StateView(ABC):
    """Keeps the states of the tasks. What shows them says how."""

    def __init__(self, states: Iterable[TaskState] = ()) -> None:
        self._lock = threading.Lock()
        self._states = {state.reference_name: state for state in states}

    def begin(self, reference_name: str, number: int) -> None:
        with self._lock:
            state = _begun(self._states, reference_name, number)
        self._tell_start(state)

    def show(self, reference_name: str, event: Event) -> None:
        with self._lock:
            _take(self._states, reference_name, event)
        caution = warning_for(event.phase, event.attributes) if event.kind == "progress" else None
        if caution is not None:
            self.line(f"{reference_name}: warning: {caution}")

    def end(
        self,
        reference_name: str,
        status: TryStatus,
        ref: str | None,
        reason: str | None,
        *,
        seconds: float | None = None,
    ) -> None:
        with self._lock:
            state = _ended(self._states[reference_name], status, ref, reason, seconds)
        self._tell_end(state)

    @abstractmethod
    def line(self, text: str) -> None:
        """See `Lines.line`."""

    def _tell_start(self, state: TaskState) -> None:  # noqa: B027 - a tree shows it anyway
        """Tell of a try that has begun."""

    @abstractmethod
    def _tell_end(self, state: TaskState) -> None:
        """Tell of a try that has ended."""


class LineView(_StateView):
    """Plain lines: the start and the end of each try."""

    def line(self, text: str) -> None:
        note(text)

    def _tell_start(self, state: TaskState) -> None:
        how = "started" if state.tries == 1 else f"try {state.tries} started"
        note(f"{state.reference_name}: {how}")

    def _tell_end(self, state: TaskState) -> None:
        behind = f", {state.text}" if state.text else ""
        note(f"{state.reference_name}: {state.status} in {state.seconds or 0:.1f} s{behind}")


class TreeView(_StateView):
    """The tasks of the workflow, each with its state, and lines above them."""

    def __init__(self, graph: WorkflowGraph, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__(_states(graph.nodes, 0))
        self._console = Console(file=stream, highlight=False)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Keep the tree on the terminal up to date."""
        from rich.live import Live

        with Live(
            get_renderable=self._tree,
            console=self._console,
            refresh_per_second=REFRESHES_A_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield

    def line(self, text: str) -> None:
        self._console.print(printable_lines(text), markup=False, highlight=False)

    def _tell_end(self, state: TaskState) -> None:
        if state.status is not TryStatus.COMPLETED and state.text:
            self.line(f"{state.reference_name}: {state.status}: {state.text}")

    def _tree(self) -> RenderableType:
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, overflow="ellipsis")
        now = time.monotonic()
        with self._lock:
            for state in self._states.values():
                table.add_row(*_row(state, now))
        return table


def _row(state: TaskState, now: float) -> tuple[str, str, str, str]:
    """A task's sign, name, seconds and text. As plain text: a name may hold what rich takes for markup."""
    from rich.markup import escape

    sign = " " if state.status is None else _SIGNS.get(state.status, "✗")
    seconds = now - state.since if state.seconds is None else state.seconds
    took = "" if state.status is None else f"{seconds:.1f} s"
    tries = f"try {state.tries} " if state.tries > 1 else ""
    name = state.reference_name.rpartition(WITHIN)[2]
    return sign, escape(f"{'  ' * state.depth}{printable(name)}"), took, escape(f"{tries}{state.text}")


def _states(nodes: Nodes, depth: int, within: str = "") -> Iterator[TaskState]:
    """The tasks of a graph in order."""
    for node in nodes:
        if isinstance(node, TaskNode | SubWorkflowNode):
            yield TaskState(within + node.reference_name, depth)
        if isinstance(node, SubWorkflowNode) and node.graph is not None:
            yield from _states(node.graph.nodes, depth + 1, within + node.reference_name + WITHIN)
        for part in parts_of(node):
            yield from _states(part, depth + isinstance(node, ForkNode | SwitchNode | DynamicForkNode), within)


def _begun(states: dict[str, TaskState], name: str, number: int) -> TaskState:
    state = states.setdefault(name, TaskState(name, depth=1 + name.count(WITHIN)))
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
