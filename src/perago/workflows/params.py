"""The params of a workflow as its input has them: complete, because nothing fills in defaults when it runs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from perago.errors import WorkflowDefinitionError
from perago.tasks.params import TOO_DEEP, describe_faults, params_as_json, read_model
from perago.tasks.secrets import mask_by_type
from perago.values.json_text import JsonObject, is_too_deep, with_finite_numbers
from perago.values.redaction import MASK
from perago.values.stamps import canonical_json
from perago.workflows.definition import WorkflowDefinition


def workflow_params(definition: WorkflowDefinition, given: JsonObject) -> dict[str, Any]:
    """The params given for a run, and the defaults of the others.

    Raises:
        WorkflowDefinitionError: they do not validate; lists all faults, without values.
    """
    if definition.params_model is None:
        if given:
            raise WorkflowDefinitionError(
                f"workflow {definition.name!r} takes no params, but {', '.join(given)} are given"
            )
        return {}
    if is_too_deep(given):
        raise WorkflowDefinitionError(f"workflow {definition.name!r}: {TOO_DEEP}")
    try:
        validated = read_model(definition.params_model, given, extra="forbid")
    except ValidationError as exc:
        faults = describe_faults(exc, "params", tuple(definition.params_model.model_fields))
        raise WorkflowDefinitionError(f"workflow {definition.name!r}: {faults}") from None
    return {
        name: given[name] if name in given else _default(validated, name, of_secret=True)
        for name in type(validated).model_fields
    }


def with_defaults(model: type[BaseModel], given: JsonObject) -> dict[str, Any]:
    """The params that a workflow's definition gives to a sub-workflow, and the defaults of the others.

    Raises:
        WorkflowDefinitionError: a secret is a default, which the definition would show.
    """
    defaults = model.model_construct()
    return {name: given[name] if name in given else _default(defaults, name) for name in model.model_fields}


def _default(params: BaseModel, name: str, *, of_secret: bool = False) -> Any:
    """The JSON of a param that was not given.

    Args:
        of_secret: also if the param is a secret.

    Raises:
        WorkflowDefinitionError: a secret is within it.
    """
    value = getattr(params, name)
    dumped = with_finite_numbers(params.model_dump(mode="json", include={name}, warnings=False)[name])
    masked = mask_by_type(value, dumped)
    if MASK not in canonical_json(masked):
        return masked
    shown = params_as_json({name: value})[name]
    if not of_secret or MASK in canonical_json(shown):
        raise WorkflowDefinitionError(f"params.{name} has a default with a secret in it; give the param")
    return shown
