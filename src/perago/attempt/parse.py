"""What came in, checked: the workspace and the params of a task's input. Every fault is told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from perago.errors import TaskInputError
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import describe_faults, validate_params
from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput

WORKSPACE_FIELDS = ("workspace", "params")
FREE_FIELDS = ("params",)


def expect_fields(task: TaskDefinition, input_data: Mapping[str, Any], fields: Iterable[str], *, only: bool) -> None:
    """Check the top level of a task's input.

    Args:
        only: further fields are refused.

    Raises:
        TaskInputError: fields are missing or unknown; all are named.
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
        TaskInputError: all its faults, with their paths.
    """
    if isinstance(raw, WorkspaceInput):
        return raw
    try:
        return WorkspaceInput.model_validate(raw)
    except ValidationError as exc:
        raise TaskInputError(f"task {task.name!r}: {describe_faults(exc, 'workspace')}") from None


def parse_params(task: TaskDefinition, input_data: Mapping[str, Any]) -> tuple[BaseModel, JsonObject]:
    """The params as the task's model, and as they came in.

    Raises:
        TaskInputError: all their faults, with their paths.
    """
    raw = input_data["params"]
    return validate_params(task, raw), raw if isinstance(raw, Mapping) else {}
