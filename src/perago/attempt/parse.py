"""Checks a task's input: reports all faults at once, and warns of what has no effect."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from perago.errors import TaskInputError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import describe_faults, unknown_params, validate_params
from perago.values.joins import WorkspaceJoin, is_join, joined
from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput
from perago.values.names import MAX_SHOWN_CHARACTERS, show_name
from perago.values.spec import WorkspaceSpec
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat

MAX_SHOWN = 3
"""Number of names in a warning; the others are counted."""

MAX_KNOWN = 20
"""Number of a task's params in a warning."""

Caution = Mapping[str, Any]


def such_as(paths: Collection[str]) -> list[str]:
    """The first of some paths, escaped for a message."""
    return [show_name(path) for path in sorted(paths)[:MAX_SHOWN]]


def of_unknown_params(task: TaskDefinition, given: Mapping[str, Any]) -> Caution:
    """Params that the task ignores."""
    unknown, known = unknown_params(task, given)
    if not unknown:
        return {}
    shown = [repr(name[:MAX_SHOWN_CHARACTERS]) for name in unknown[:MAX_SHOWN]]
    return {"unknown_params": len(unknown), "such_as": shown, "known": known[:MAX_KNOWN]}


def of_unknown_fields(given: Mapping[str, Any], fields: Iterable[str]) -> Caution:
    """Top-level fields of the input that the attempt ignores."""
    unknown = given.keys() - set(fields)
    return {"unknown_fields": len(unknown), "such_as": such_as(unknown)} if unknown else {}


def of_read_only_writes(before: Mapping[str, FileStat], after: Mapping[str, FileStat]) -> Caution:
    """Files that a read_only task added, changed or deleted in its workspace.

    A change within one tick of the file system's clock that keeps the size is not detected.
    """
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return {"not_published": len(changed), "such_as": such_as(changed)} if changed else {}


@dataclass(frozen=True)
class Unmatched:
    """The parts of a workspace's selection that match no file.

    Attributes:
        prefix: a prefix without files; "" if there are files, or if it is the whole repository.
        include: patterns that match no file.
    """

    prefix: str
    include: Mapping[str, Selection] = field(default_factory=dict)

    @classmethod
    def by(cls, spec: WorkspaceSpec, paths: Iterable[str]) -> Self:
        """The parts that the paths of a workspace leave unmatched."""
        return cls(spec.root, {pattern: Selection([pattern]) for pattern in spec.include}).without(paths)

    def without(self, paths: Iterable[str]) -> Self:
        """The parts that match none of these paths either."""
        prefix, include = self.prefix, dict(self.include)
        for path in paths:
            prefix = ""
            if not include:
                break
            include = {pattern: alone for pattern, alone in include.items() if not alone.selects(path)}
        return type(self)(prefix, include)

    @property
    def caution(self) -> Caution:
        """The attributes of a warning. An empty prefix explains why patterns match nothing, so it comes alone."""
        if self.prefix:
            return {"empty_prefix": self.prefix}
        return {"unmatched": list(self.include)} if self.include else {}


WORKSPACE_FIELDS = ("workspace", "params")
FREE_FIELDS = ("params",)


def expect_fields(task: TaskDefinition, input_data: Mapping[str, Any], fields: Iterable[str], *, only: bool) -> None:
    """Check the top level of a task's input.

    Args:
        only: further fields are refused.

    Raises:
        TaskInputError: names all missing and unknown fields.
    """
    if not isinstance(input_data, Mapping):
        raise TaskInputError(f"task {task.name!r}: the input is a {type(input_data).__name__}, not an object")
    wanted = tuple(fields)
    missing = [name for name in wanted if name not in input_data]
    unknown = sorted(str(name) for name in input_data if name not in wanted) if only else []
    faults = [f"{kind} {names}" for kind, names in (("missing", missing), ("unknown", unknown)) if names]
    if faults:
        bound = "exactly" if only else "at least"
        raise TaskInputError(f"task {task.name!r}: the input must hold {bound} {list(wanted)}; {', '.join(faults)}")


def parse_workspace_input(task: TaskDefinition, raw: object) -> WorkspaceInput:
    """Read the `workspace` field.

    Raises:
        TaskInputError: lists all faults with their paths.
    """
    if isinstance(raw, WorkspaceInput):
        return raw
    try:
        return WorkspaceInput.model_validate(raw)
    except ValidationError as exc:
        raise TaskInputError(f"task {task.name!r}: {describe_faults(exc, 'workspace')}") from None


def parse_workspace(task: TaskDefinition, raw: object) -> WorkspaceInput | WorkspaceJoin:
    """Read the `workspace` field, which may be a join.

    Raises:
        TaskInputError: lists all faults with their paths; or the join is empty, or names several branches.
    """
    if not is_join(raw):
        return parse_workspace_input(task, raw)
    inputs, faults = [], []
    for place, one in joined(raw):
        try:
            inputs.append(WorkspaceInput.model_validate(one))
        except ValidationError as exc:
            faults.append(describe_faults(exc, place))
    if faults:
        raise TaskInputError(f"task {task.name!r}: {'; '.join(faults)}")
    if not inputs:
        raise TaskInputError(f"task {task.name!r}: workspace.join names no workspace; list those of the tasks before")
    branches = sorted({f"{one.repository}/{one.branch}" for one in inputs})
    if len(branches) > 1:
        raise TaskInputError(
            f"task {task.name!r}: workspace.join names commits of {', '.join(branches)}; join commits of one branch"
        )
    return WorkspaceJoin(tuple({one.ref: one for one in inputs}.values()))


def parse_params(task: TaskDefinition, input_data: Mapping[str, Any]) -> tuple[BaseModel, JsonObject]:
    """The params as the task's model, and as given.

    Raises:
        TaskInputError: lists all faults with their paths.
    """
    raw = input_data["params"]
    return validate_params(task, raw), raw if isinstance(raw, Mapping) else {}
