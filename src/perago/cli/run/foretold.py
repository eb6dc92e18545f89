"""What a run would do, in words and as JSON: for `perago why` and `perago status`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, assert_never

from perago.attempt.missed import Missed
from perago.cli.arguments import RunArguments
from perago.cli.loading import declared_by
from perago.cli.output import stdout_to_stderr
from perago.cli.run.prepare import prepare, prepare_workflow
from perago.running.foretell import Fails, Fate, Foretold, LeftOut, Uncached, Unreached, Waits, foretell
from perago.running.request import RunRequest
from perago.running.text import printable
from perago.running.why import Computed, Taken, as_json, outlook_of
from perago.running.workflow_request import WorkflowRequest
from perago.tasks.declare import TaskDefinition

MAX_DIFFERENCES = 20
"""Differences that are listed for people; with `--json` all are."""

MAX_ITEMS = 3
"""Items of a map that are listed, of those that would not be taken."""

_SHORT = 12


def request_of(arguments: RunArguments) -> RunRequest | WorkflowRequest:
    """The run that is asked about, checked as by `perago run`."""
    found = declared_by(arguments.module or "", arguments.tasks, arguments.workflows).only()
    if isinstance(found, TaskDefinition):
        return prepare(arguments, found)
    return prepare_workflow(arguments, found)


def foretold_of(request: RunRequest | WorkflowRequest) -> list[Foretold]:
    """What a run would do with each task."""
    with stdout_to_stderr():  # what validators print
        if isinstance(request, WorkflowRequest):
            return foretell(request)
        task = request.task
        fate = Uncached() if task.cache is None else outlook_of(request)
        return [Foretold(name=task.name, fate=fate)]


def document(request: RunRequest | WorkflowRequest, found: Sequence[Foretold]) -> dict[str, Any]:
    """All of it, for `--json`."""
    return {
        "workflow": request.workflow.graph.name if isinstance(request, WorkflowRequest) else None,
        "ref": ((request.input_data or {}).get("workspace") or {}).get("ref"),
        "tasks": [_object(each) for each in found],
    }


def _object(each: Foretold) -> dict[str, Any]:
    fate = each.fate
    waits = fate if isinstance(fate, Waits) else None
    if isinstance(fate, Taken | Computed):
        told = as_json(fate)
    else:
        told = {**as_json(Computed(missed=Missed(why=_line(fate)))), "line": None}
    return {
        "reference_name": each.name,
        "map": each.of_map,
        "item": each.item or None,
        "does": _does(fate),
        "status": status_of(fate),
        "waits_for": [] if waits is None else list(waits.of),
        "because": None if waits is None else waits.reason,
        **told,
    }


def _does(fate: Fate) -> str:
    match fate:
        case Taken():
            return "takes"
        case Computed() | Uncached():
            return "computes"
        case Waits():
            return "waits"
        case Fails():
            return "fails"
        case LeftOut() | Unreached():
            return "nothing"
    assert_never(fate)


# ---------------------------------------------------------------- why


def why_lines(found: Sequence[Foretold]) -> Iterator[str]:
    """A line for each task, and for each map, with what has changed below it."""
    yield from _lines(found, _why, lambda items: f"{_count(items, Taken)} take earlier results")


def _why(fate: Fate) -> list[str]:
    return lines_of(fate) if isinstance(fate, Taken | Computed) else [_line(fate)]


def lines_of(outlook: Taken | Computed) -> list[str]:
    """What a run would do with one task, with what has changed below it."""
    if isinstance(outlook, Taken):
        return [f"It would take the result of commit {outlook.commit}."]
    missed = outlook.missed
    if missed.since is None:
        return [f"The body would run: {printable(missed.why)}."]
    if not missed.differences:
        return [f"The body would run. Nothing that it depends on has changed, but {printable(missed.why)}."]
    told = [f"The body would run. Since commit {missed.since[:_SHORT]}:"]
    told += [f"  {printable(each.text)}" for each in missed.differences[:MAX_DIFFERENCES]]
    more = len(missed.differences) - MAX_DIFFERENCES
    return [*told, *([f"  … and {more} more"] if more > 0 else [])]


def _line(fate: Fails | Waits | Uncached | LeftOut | Unreached) -> str:
    match fate:
        case Fails(why):
            return f"It would fail: {printable(why)}"
        case Uncached():
            return "The body would run: the task has no cache."
        case LeftOut():
            return "It would not run: its case is not taken."
        case Unreached():
            return "It would not run: the workflow ends before it."
        case Waits():
            return _waits(fate)
    assert_never(fate)


def _waits(fate: Waits) -> str:
    names = _named(fate.of)
    match fate.reason:
        case "case":
            return f"Whether it runs depends on {names}, which would run first."
        case "items":
            return f"Its items depend on {names}, which would run first."
        case "key":
            return f"{names} would compute the same result first."
        case "beside":
            return f"It depends on {names}, which may publish before it."
        case "params" | "files":
            return f"It depends on {names}, which would run first."
    assert_never(fate.reason)


# ---------------------------------------------------------------- status


def status_lines(found: Sequence[Foretold]) -> Iterator[str]:
    """A line for each task, and for each map."""
    yield from _lines(found, lambda fate: [status_of(fate)], lambda items: f"{_count(items, Taken)} up to date")


def status_of(fate: Fate) -> str:
    """Whether a task is up to date, in a few words."""
    match fate:
        case Taken():
            return "up to date"
        case Computed(missed=missed):
            return "no earlier result" if missed.is_first else f"stale: {printable(_first(missed))}"
        case Waits(of=of):
            return f"stale: {_named(of)} would run first"
        case Fails(why):
            return f"fails: {printable(why)}"
        case Uncached():
            return "no cache: each run computes it"
        case LeftOut():
            return "left out: its case is not taken"
        case Unreached():
            return "left out: the workflow ends before it"
    assert_never(fate)


def _first(missed: Missed) -> str:
    if not missed.differences:
        return missed.why
    more = len(missed.differences) - 1
    return f"{missed.differences[0].text}{f', and {more} more' if more else ''}"


# ---------------------------------------------------------------- both


def _lines(
    found: Sequence[Foretold], told: Callable[[Fate], list[str]], taken: Callable[[Sequence[Foretold]], str]
) -> Iterator[str]:
    for of_map, group in groupby(found, lambda each: each.of_map):
        if of_map is None:
            for each in group:
                yield from _told(each.name, told(each.fate))
            continue
        items = list(group)
        others = [each for each in items if not isinstance(each.fate, Taken)]
        yield f"{printable(of_map)} ×{len(items)}: {taken(items)}{f', {len(others)} not:' if others else ''}"
        for each in others[:MAX_ITEMS]:
            name = f"{each.name} ({each.item})" if each.item else each.name
            yield from (f"  {line}" for line in _told(name, told(each.fate)))
        if len(others) > MAX_ITEMS:
            yield f"  … and {len(others) - MAX_ITEMS} more"


def _told(name: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"{printable(name)}: {lines[0]}"
    yield from lines[1:]


def _count(items: Sequence[Foretold], kind: type[Taken]) -> int:
    return sum(isinstance(each.fate, kind) for each in items)


def _named(names: Sequence[str]) -> str:
    """Up to three names."""
    shown = list(map(printable, names[:3]))
    more = len(names) - len(shown)
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    *others, last = shown
    return f"{', '.join(others)} and {last}" if others else last
