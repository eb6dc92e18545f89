"""A join: several commits of one branch, given where a task's input has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput

JOIN = "join"
"""The only field of a workspace that is a join."""


@dataclass(frozen=True)
class WorkspaceJoin:
    """Commits of one branch, of which an attempt starts from the one that holds all others.

    Attributes:
        inputs: distinct, at least one, all of the same repository and branch.
    """

    inputs: tuple[WorkspaceInput, ...]


def is_join(raw: object) -> bool:
    """Whether a workspace in a task's input, as JSON, is a join."""
    return isinstance(raw, Mapping) and raw.keys() == {JOIN}


def joined(raw: object, place: str = "workspace") -> Iterator[tuple[str, object]]:
    """The workspaces of a task's input as JSON, each with its place in it: one, or all that a join names.

    A join names workspaces, other joins, and outputs of JOIN tasks, which map reference names to outputs of tasks; one
    of these, or a list.
    """
    if not (isinstance(raw, Mapping) and is_join(raw)):
        yield place, raw
        return
    inner = raw[JOIN]
    for number, item in enumerate(inner if isinstance(inner, list) else [inner]):
        here = f"{place}.{JOIN}[{number}]" if isinstance(inner, list) else f"{place}.{JOIN}"
        if isinstance(item, Mapping) and not is_join(item) and all(isinstance(part, Mapping) for part in item.values()):
            for name, output in item.items():
                yield from joined(output.get("workspace"), f"{here}.{name}.workspace")
        else:
            yield from joined(item, here)


def input_refs(input_data: JsonObject) -> tuple[str, ...]:
    """The commits that a task's input names, sorted: one, those of a join, or none."""
    return tuple(sorted({ref for _, one in joined(input_data.get("workspace")) if (ref := _text(one, "ref"))}))


def input_repository(input_data: object) -> str | None:
    """The repository that a task's input names, which may be malformed; None if it names none."""
    if not isinstance(input_data, Mapping):
        return None
    return next((name for _, one in joined(input_data.get("workspace")) if (name := _text(one, "repository"))), None)


def _text(workspace: object, name: str) -> str | None:
    value = workspace.get(name) if isinstance(workspace, Mapping) else None
    return value if isinstance(value, str) else None
