"""The rows that show a workflow's tasks: sign, name, time and text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from perago.running.task_state import UNSEEN, TaskState
from perago.running.text import printable, span_text
from perago.values.record import WITHIN, TryStatus

BAR_COLUMNS = 10
"""Width of a map's bar."""

MAX_NAMED_ITEMS = 3
"""Failed items of a map that its row names."""

MIN_DONE = 3
"""Tasks of a map that must be done before the remaining time is estimated."""

_SIGNS = {
    TryStatus.IN_PROGRESS: "…",
    TryStatus.COMPLETED: "✓",
    TryStatus.COMPLETED_WITH_ERRORS: "!",
    TryStatus.CANCELED: "-",
}
"""Sign of a task, by its status. All other statuses have the sign of a failure."""


class Row(NamedTuple):
    """What is shown of a task or a map.

    Attributes:
        name: with its indentation.
        took: how long it has taken; "" before it begins.
        is_faint: it does nothing: it waits, or its case is not taken.
        more: further parts of the text, which go to lines of their own where they do not fit.
    """

    sign: str
    name: str
    took: str
    text: str
    is_faint: bool = False
    more: tuple[str, ...] = ()

    @property
    def whole_text(self) -> str:
        return ", ".join((self.text, *self.more))


def rows_of(states: Iterable[TaskState], now: float) -> list[Row]:
    """A row for each task, and one for all tasks of a map.

    Args:
        now: monotonic seconds.
    """
    of_maps: dict[str, list[TaskState]] = {}
    for state in states:
        of_maps.setdefault(state.within or "", []).append(state)
    return [
        _row_of_map(state, of_maps.get(state.reference_name, []), now) if state.kind == "map" else _row(state, now)
        for state in of_maps.get("", [])
        if state.kind != "builtin" or state.status not in UNSEEN
    ]


def _row(state: TaskState, now: float) -> Row:
    name = _name(state)
    if state.status is None:
        return _not_begun(state, name)
    seconds = now - state.since if state.seconds is None else state.seconds
    if state.retry_at is not None:
        left = max(state.retry_at - now, 0.0)
        return Row("↻", name, f"{seconds:.1f} s", f"try {state.tries + 1} in {span_text(left)}: {state.text}")
    tries = f"try {state.tries} " if state.tries > 1 else ""
    return Row(_SIGNS.get(state.status, "✗"), name, f"{seconds:.1f} s", f"{tries}{state.text}")


def _not_begun(state: TaskState, name: str) -> Row:
    sign, text = ("·", "case not taken") if state.is_left_out else (" ", "")
    return Row(sign, name, "", text, is_faint=True)


def _row_of_map(state: TaskState, tasks: list[TaskState], now: float) -> Row:
    name = f"{_name(state)} ×{len(tasks) or '…'}"
    begun = [task for task in tasks if task.status is not None]
    if not begun:
        return _not_begun(state, name)
    failed = [task for task in begun if task.has_failed and task.retry_at is None]
    is_over = len(begun) == len(tasks) and all(not task.is_running and task.retry_at is None for task in tasks)
    sign = "✗" if failed else "✓" if is_over else "…"
    since = min(task.since for task in begun)
    until = max(task.since + (now - task.since if task.seconds is None else task.seconds) for task in begun)
    text, *more = _parts_of_map(tasks, failed, since, now)
    return Row(sign, name, f"{(until if is_over else now) - since:.1f} s", text, more=tuple(more))


def _parts_of_map(tasks: list[TaskState], failed: list[TaskState], since: float, now: float) -> list[str]:
    """How far a map has come, in parts.

    Args:
        since: start of its first task, monotonic seconds.
        now: monotonic seconds.
    """
    done = sum(task.status in (TryStatus.COMPLETED, TryStatus.COMPLETED_WITH_ERRORS) for task in tasks)
    counts = {
        "running": sum(task.is_running for task in tasks),
        "to retry": sum(task.retry_at is not None for task in tasks),
        "cancelled": sum(task.status is TryStatus.CANCELED for task in tasks),
    }
    due = min((task.retry_at for task in tasks if task.retry_at is not None), default=now)
    words = {"to retry": f"to retry in {span_text(max(due - now, 0.0))}"}
    parts = [f"{count} {words.get(word, word)}" for word, count in counts.items() if count]
    parts += [f"{len(failed)} failed{_items(failed)}"] if failed else []
    left = len(tasks) - done - len(failed) - counts["cancelled"]
    if done >= MIN_DONE and left:
        parts.append(f"{span_text(max((now - since) / done * left, due - now))} left")
    filled = BAR_COLUMNS * done // len(tasks)
    return [f"{'━' * filled}{'─' * (BAR_COLUMNS - filled)} {done} of {len(tasks)} done", *parts]


def _items(failed: list[TaskState]) -> str:
    """Which tasks of a map have failed: by their items, or else by their numbers."""
    named = [task.item or f"no. {task.reference_name.rpartition('_')[2]}" for task in failed]
    more = len(named) - MAX_NAMED_ITEMS
    return f" ({', '.join(named[:MAX_NAMED_ITEMS])}{f' and {more} more' if more > 0 else ''})"


def _name(state: TaskState) -> str:
    """Indented below the sub-workflow that it is in. Forks and switches have no row, so they do not indent."""
    return f"{'  ' * state.reference_name.count(WITHIN)}{printable(state.reference_name.rpartition(WITHIN)[2])}"
