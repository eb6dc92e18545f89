"""What a run records of its params: secrets are masked, by the types of the params and by their names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from perago.attempt.stamp import describe_params
from perago.tasks.declare import TaskDefinition
from perago.tasks.params import read_model, validate_params
from perago.tasks.secrets import mask_by_type, secrets_of
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.redaction import MASK, learn_of, mask_json
from perago.values.stamps import canonical_json
from perago.workflows.check import typed_places
from perago.workflows.expressions import value_at, with_value_at
from perago.workflows.graph import WorkflowGraph
from perago.workflows.wiring import field_type

_OWNER = "perago run"


def learn_secrets(model: type[BaseModel] | None, params: object) -> BaseModel | None:
    """Mask the secrets among params until this process ends.

    An attempt forgets them at its end, but its error and traceback are shown after that. The caller redirects what
    validators print, as for a body.

    Returns:
        the validated params; None if they do not validate.
    """
    with suppress(Exception):  # the attempt reports what validators raise
        if model is not None:
            validated = read_model(model, params, extra="ignore")
            learn_of(_OWNER, secrets_of(validated))
            return validated
    return None


def recordable(task: TaskDefinition, params: JsonObject) -> JsonObject:
    """The params for the record, with given secrets masked."""
    return recordable_params(validate_params(task, params), params)


def recordable_input(model: type[BaseModel] | None, input_data: JsonObject) -> JsonObject:
    """The input of a try for the record, with secrets masked. From now on this process masks them in every text.

    Args:
        model: of its params. Params that do not validate are all masked, because no types show which are secrets.
    """
    if model is None or "params" not in input_data:
        return input_data
    params = input_data["params"]
    validated = learn_secrets(model, params)
    if validated is not None:
        return {**input_data, "params": recordable_params(validated, params)}
    return {**input_data, "params": dict.fromkeys(params, MASK) if isinstance(params, Mapping) else MASK}


def recordable_by_tasks(
    graph: WorkflowGraph, tasks: Mapping[str, TaskDefinition], input_data: JsonObject
) -> JsonObject:
    """The input of a workflow without a model, for the record. The params of its tasks show what is a secret."""
    recorded: JsonObject = input_data
    for path, kind in typed_places(graph, tasks):
        value = value_at(recorded, path)
        masked = None if value is None else _recordable_value(kind, value)
        if masked != value:
            recorded = with_value_at(recorded, path, masked)
    return recorded


def recordable_map(model: type[BaseModel], input_data: JsonObject) -> JsonObject:
    """The same for `perago.map`, whose list has an item for each of its tasks.

    Args:
        model: of these tasks' params, of which one takes the item.
    """
    params = input_data["params"]
    fields = {field.alias or name: field_type(field) for name, field in model.model_fields.items()}
    items, kind = params.get("over"), fields.get(params["param"])
    if not isinstance(items, list) or kind is None:
        return input_data
    return {**input_data, "params": {**params, "over": [_recordable_value(kind, item) for item in items]}}


def _recordable_value(kind: Any, value: object) -> object:
    try:
        validated: object = TypeAdapter(kind).validate_python(value)
    except Exception:  # noqa: BLE001 - validators may raise anything, which the attempt reports
        return MASK
    learn_of(_OWNER, secrets_of(validated))
    return mask_by_type(validated, value)


def recordable_params(validated: BaseModel | None, params: JsonObject) -> JsonObject:
    """The same for params of any model.

    Args:
        validated: None for params without a model. Then only names show what is a secret.
    """
    if validated is None:
        masked: JsonObject = mask_json(params)
        return masked
    return masked_params(validated) if _holds_secrets(validated, params) else params


def masked_params(validated: BaseModel) -> JsonObject:
    """All params, secrets masked. A secret that was not given is left out, so that a comparison shows it."""
    fields = type(validated).model_fields.items()
    unset = {field.serialization_alias or name for name, field in fields if name not in validated.model_fields_set}
    described = describe_params(validated)
    return {name: value for name, value in described.items() if not (name in unset and MASK in canonical_json(value))}


def _holds_secrets(validated: BaseModel, params: JsonObject) -> bool:
    """Whether a secret was given, by the model's types or by its name. Defaults do not count."""
    try:
        given = validated.model_dump(mode="json", exclude_unset=True, warnings=False)
    except PydanticSerializationError:
        return True  # unknown: assume yes
    return MASK in canonical_json(with_finite_numbers(mask_by_type(validated, given))) or mask_json(params) != params
