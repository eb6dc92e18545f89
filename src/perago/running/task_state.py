"""The states of a workflow's tasks, as far as people see them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from perago.running.text import printable
from perago.tasks.declare import BUILTIN_TASKS
from perago.values.record import WITHIN, TryStatus
from perago.values.redaction import MASK, is_secret_key, mask_text
from perago.workflows.forks import known_fork
from perago.workflows.graph import Nodes, SubWorkflowNode, SwitchNode, TaskNode, parts_of

Kind = Literal["task", "map", "builtin"]

ITEM_COLUMNS = 20
"""Longest text of an item."""

UNSEEN = (None, TryStatus.IN_PROGRESS, TryStatus.COMPLETED)
"""Statuses in which people do not see a task of Perago's own."""

Case = tuple[str, str | None]
"""Reference name of a switch, and one of its cases; None for the default."""


@dataclass
class TaskState:
    """What is shown of a task.

    Attributes:
        status: of its newest try; None before the first.
        text: its phase or progress; what it did, once it has ended.
        since: start of that try, monotonic seconds.
        seconds: of a try that has ended.
        kind: a map is one row for all its tasks; a task of Perago is only shown if it fails.
        within: reference name of the map that it belongs to.
        param: of a map, the param that takes the item; None if it is not known.
        fork: of a map, the reference name of its dynamic fork.
        item: of a map's task, its item as text; "" if it is not known.
        retry_at: when its next try is due, monotonic seconds; None if none is.
        cases: the cases of switches that it is in.
        is_left_out: one of those switches has taken another case.
        cached_from: id of the commit whose result was taken in place of the body's.
    """

    reference_name: str
    kind: Kind = "task"
    within: str | None = None
    param: str | None = None
    fork: str | None = None
    cases: frozenset[Case] = frozenset()
    status: TryStatus | None = None
    tries: int = 0
    text: str = ""
    since: float = 0.0
    seconds: float | None = None
    item: str = ""
    retry_at: float | None = None
    is_left_out: bool = False
    cached_from: str | None = None
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def told_name(self) -> str:
        """Its name in a line: with the item, if it is a map's task."""
        return f"{self.reference_name} ({self.item})" if self.item else self.reference_name

    @property
    def is_running(self) -> bool:
        return self.status is TryStatus.IN_PROGRESS

    @property
    def has_failed(self) -> bool:
        return self.status not in (None, TryStatus.IN_PROGRESS, TryStatus.COMPLETED, TryStatus.CANCELED)


def is_unseen(task_name: str, status: str) -> bool:
    """Whether people do not see a task, because it is one of Perago's own and has not failed."""
    return task_name in BUILTIN_TASKS and status in UNSEEN


def states_of(nodes: Nodes, within: str = "", cases: frozenset[Case] = frozenset()) -> Iterator[TaskState]:
    """The tasks and maps of a graph in order."""
    for index, node in enumerate(nodes):
        fork = known_fork(nodes, index)
        if fork is not None and fork.mapped is not None:
            yield TaskState(
                within + fork.mapped, "map", param=fork.param, fork=within + node.reference_name, cases=cases
            )
        match node:
            case TaskNode():
                kind: Kind = "builtin" if node.task_name in BUILTIN_TASKS else "task"
                yield TaskState(within + node.reference_name, kind, cases=cases)
            case SubWorkflowNode():
                yield TaskState(within + node.reference_name, cases=cases)
                if node.graph is not None:
                    yield from states_of(node.graph.nodes, within + node.reference_name + WITHIN, cases)
            case SwitchNode():
                for case, part in (*node.cases.items(), (None, node.default)):
                    yield from states_of(part, within, cases | {(within + node.reference_name, case)})
            case _:
                for part in parts_of(node):
                    yield from states_of(part, within, cases)


def state_of(states: dict[str, TaskState], name: str) -> TaskState:
    """The state of a task, which a dynamic fork may have added."""
    of, _, number = name.rpartition("_")
    of_map = number.isdecimal() and of in states and states[of].kind == "map"
    return states.setdefault(name, TaskState(name, within=of if of_map else None))


def item_text(param: str | None, input_data: Mapping[str, Any]) -> str:
    """The item of a map's task, shortened for people; "" if it is not known, or a secret.

    Args:
        param: the param that takes the item.
        input_data: of the task.
    """
    params = input_data.get("params")
    if param is None or not isinstance(params, Mapping) or is_secret_key(param):
        return ""
    item = params.get(param)
    if isinstance(item, Mapping):  # the first field of an object names it, if anything does
        item = next(iter(item.values()), None)
    text = mask_text(str(item)) if isinstance(item, str | int | float) else ""
    return "" if MASK in text else _shortened(printable(text))


def _shortened(text: str) -> str:
    """A text whose head and tail stay."""
    if len(text) <= ITEM_COLUMNS:
        return text
    head = (ITEM_COLUMNS - 1) // 2
    return f"{text[:head]}…{text[head + 1 - ITEM_COLUMNS :]}"
