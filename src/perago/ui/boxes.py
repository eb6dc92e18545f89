"""A workflow as nested boxes. It is made of sequences, and of branches side by side, so that its text is its layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from perago.ports import PHASES, PhaseKind
from perago.tasks.declare import BUILTIN_TASKS
from perago.values.json_text import JsonObject
from perago.values.record import WITHIN
from perago.workflows.forks import known_fork
from perago.workflows.graph import (
    DynamicForkNode,
    ForkNode,
    JoinNode,
    Node,
    Nodes,
    SetVariableNode,
    SubWorkflowNode,
    SwitchNode,
    TaskNode,
)

MAX_ITEMS = 150
"""Tasks of a map that are shown: those that failed or run, then the first ones."""

WAITING = "waiting"
NOT_TAKEN = "not taken"
_DONE = ("COMPLETED", "COMPLETED_WITH_ERRORS")
_SEEN_OK = ("COMPLETED", "IN_PROGRESS", "SCHEDULED", WAITING)


_KINDS: Mapping[str, PhaseKind] = {phase.value: facts.kind for phase, facts in PHASES.items()}


@dataclass(frozen=True, kw_only=True)
class PhaseBar:
    """A phase of a try, as a part of a bar.

    Attributes:
        seconds: so far, if it runs.
        x, width: of its bar, in parts of 1000 of all phases of the try.
    """

    name: str
    kind: PhaseKind
    seconds: float
    is_live: bool
    x: int
    width: int


def phases_of(ended: Mapping[str, int], running: str | None = None, seconds: float = 0.0) -> list[PhaseBar]:
    """The phases of a try side by side.

    Args:
        ended: milliseconds of each.
        running: the one that runs, for how many seconds.
    """
    took = {name: value / 1000 for name, value in ended.items() if name != running}
    if running is not None:
        took[running] = ended.get(running, 0) / 1000 + seconds
    whole, before, found = sum(took.values()) or 1.0, 0.0, []
    for name, value in took.items():
        x, end = round(before / whole * 1000), round((before + value) / whole * 1000)
        found.append(
            PhaseBar(
                name=name.replace("_", " "),
                kind=_KINDS.get(name, "other"),
                seconds=value,
                is_live=name == running,
                x=x,
                width=max(end - x, 1),
            )
        )
        before += value
    return found


@dataclass(frozen=True, kw_only=True)
class TryFacts:
    """One try of a task.

    Attributes:
        number: from 1.
        started: None while it waits for a worker.
        duration: seconds; so far if it runs; None if its end was not observed.
        cached_from: full id of the commit whose result it took; None if a body ran, or that is not known.
        code: the git commit of its code, as text.
        phases: how long each took, in the order of their beginning, the one that runs last; empty if that is not known.
        phase: the one that runs; "" for none. progress: of it, in words; "" for none.
        share: of that phase that is done, 0 to 1; None if unknown.
        lines: the last ones that its body has printed or logged: of one that runs, or has failed.
    """

    task: str
    number: int
    status: str
    started: datetime | None
    duration: float | None
    output_ref: str | None
    result: JsonObject | None
    reason: str | None
    cached_from: str | None
    code: str | None
    worker: str
    phases: Sequence[PhaseBar] = ()
    phase: str = ""
    progress: str = ""
    share: float | None = None
    lines: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Box:
    """One part of a workflow.

    Attributes:
        kind: `task`; `map` with its tasks; `parallel` with its branches; `choice` with its cases; `sequence`, which is
            a branch or a case; `workflow`, a workflow as one task.
        name: reference name of a task, map or workflow; what the value of a case is.
        status: of a task's newest try; of others, what follows from those within.
        task: its newest try; None before the first, and for a box that is not a task.
        total, done, failed, running: of a map, how many tasks it has, and how many of them are.
        left_out: of a map, how many of its tasks that have begun are not among its parts; see `MAX_ITEMS`.
    """

    kind: Literal["task", "map", "parallel", "choice", "sequence", "workflow"]
    name: str = ""
    status: str = WAITING
    task: TryFacts | None = None
    parts: Sequence[Box] = ()
    total: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    left_out: int = 0


def boxes_of(nodes: Nodes, last: Mapping[str, TryFacts]) -> Sequence[Box]:
    """The boxes of a workflow. Tasks that its definition does not name come last.

    Args:
        last: the newest try of each task, by reference name.
    """
    building = _Building(last)
    boxes = building.sequence(nodes, "")
    rest = [name for name in last if name not in building.shown]
    return [*boxes, *(building.task(name) for name in rest)]


def rows_in(boxes: Sequence[Box]) -> Iterator[Box]:
    """The tasks of boxes, at any depth, and the maps, each of which is one row."""
    for box in boxes:
        if box.kind in ("task", "map"):
            yield box
        else:
            yield from rows_in(box.parts)


class _Building:
    def __init__(self, last: Mapping[str, TryFacts]) -> None:
        self._last = last
        self.shown: set[str] = set()

    def sequence(self, nodes: Nodes, within: str) -> list[Box]:
        found: list[Box] = []
        for index, node in enumerate(nodes):
            found += self._node(nodes, index, node, within)
        return found

    def task(self, name: str) -> Box:
        self.shown.add(name)
        facts = self._last.get(name)
        return Box(kind="task", name=name, status=WAITING if facts is None else facts.status, task=facts)

    def _node(self, nodes: Nodes, index: int, node: Node, within: str) -> list[Box]:
        name = within + node.reference_name
        match node:
            case TaskNode():
                box = self.task(name)
                return [] if node.task_name in BUILTIN_TASKS and box.status in _SEEN_OK else [box]
            case SubWorkflowNode():
                box = self.task(name)
                parts = [] if node.graph is None else self.sequence(node.graph.nodes, name + WITHIN)
                return [Box(kind="workflow", name=name, status=box.status, task=box.task, parts=parts)]
            case ForkNode():
                return [_parallel([self._branch(part, within) for part in node.branches])]
            case SwitchNode():
                cases = [(case, part) for case, part in node.cases.items()] + [("otherwise", node.default)]
                branches = [self._branch(part, within, case) for case, part in cases]
                return [_choice([branch for branch in branches if branch.parts])]
            case DynamicForkNode():
                return self._forked(nodes, index, within)
            case JoinNode() | SetVariableNode():
                self.shown.add(name)
                return []
            case _:
                return [self.task(name)] if name in self._last else []

    def _branch(self, nodes: Nodes, within: str, name: str = "") -> Box:
        parts = self.sequence(nodes, within)
        return Box(kind="sequence", name=name, status=_together(parts), parts=parts)

    def _forked(self, nodes: Nodes, index: int, within: str) -> list[Box]:
        """The tasks of a map are one box; those of another fork, which are known, are side by side."""
        fork = known_fork(nodes, index)
        if fork is None:
            return []
        if fork.mapped is None:
            return [_parallel([self.task(within + task.reference_name) for task in fork.tasks])]
        name = within + fork.mapped
        numbered = re.compile(re.escape(name) + r"_([0-9]+)")
        found = sorted((int(match[1]), one) for one in self._last if (match := numbered.fullmatch(one)) is not None)
        lists = self._last.get(within + nodes[index - 1].reference_name) if index else None
        listed = None if lists is None or lists.result is None else lists.result.get("tasks")
        return [_map(name, [self.task(one) for _, one in found], len(listed) if isinstance(listed, list) else 0)]


def _map(name: str, parts: Sequence[Box], listed: int) -> Box:
    status = _together(parts)
    shown = _shown(parts)
    return Box(
        kind="map",
        name=name,
        status="IN_PROGRESS" if status == "COMPLETED" and listed > len(parts) else status,
        parts=shown,
        left_out=len(parts) - len(shown),
        total=max(listed, len(parts)),
        done=sum(part.status in _DONE for part in parts),
        running=sum(part.status == "IN_PROGRESS" for part in parts),
        failed=sum(part.status not in (*_DONE, "IN_PROGRESS", "SCHEDULED", WAITING, "CANCELED") for part in parts),
    )


def _shown(parts: Sequence[Box]) -> Sequence[Box]:
    """Those tasks of a map that are shown, in order."""
    by_interest = sorted(range(len(parts)), key=lambda index: parts[index].status in (*_DONE, WAITING, "SCHEDULED"))
    return [parts[index] for index in sorted(by_interest[:MAX_ITEMS])]


def _parallel(parts: Sequence[Box]) -> Box:
    flat = [part.parts[0] if part.kind == "sequence" and len(part.parts) == 1 else part for part in parts]
    return Box(
        kind="parallel", status=_together(flat), parts=[part for part in flat if part.kind == "task" or part.parts]
    )


def _choice(parts: Sequence[Box]) -> Box:
    """The cases of a choice. Once one of them has begun, the others are not taken."""
    has_begun = any(part.status != WAITING for part in parts)
    cases = [_not_taken(part) if has_begun and part.status == WAITING else part for part in parts]
    return Box(kind="choice", status=_together([part for part in cases if part.status != NOT_TAKEN]), parts=cases)


def _not_taken(box: Box) -> Box:
    return replace(box, status=NOT_TAKEN, parts=[_not_taken(one) for one in box.parts])


_ORDER = ("IN_PROGRESS", "SCHEDULED")


def _together(parts: Sequence[Box]) -> str:
    """The status of boxes as one: the first failure, else what is under way, else whether all are done."""
    statuses = [part.status for part in parts if part.status != NOT_TAKEN]
    quiet = (*_DONE, *_ORDER, WAITING)
    failed = [status for status in statuses if status not in quiet]
    if failed:
        return failed[0]
    if any(status in _ORDER for status in statuses):
        return "IN_PROGRESS"
    if statuses and all(status in _DONE for status in statuses):
        return "COMPLETED"
    return "IN_PROGRESS" if any(status in _DONE for status in statuses) else WAITING
