"""The params of a workflow, as its record and the stamps of its tasks show them.

A worker that serves tasks does not know the types of a workflow's params, and so not which of them are secrets. The
definition that is registered names those that are none, by their types. Without such a list nothing is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perago.values.json_text import JsonObject, is_too_deep
from perago.values.redaction import MASK, mask_json

_NO_PARAMS = ("workspace", "params", "traceparent", "tracestate")
_METADATA, _OWNER, _PLAIN = "metadata", "perago", "plain_params"


def params_in(input_data: JsonObject) -> JsonObject | None:
    """The params in the input of a workflow: `params`, or else all that is beside the workspace. None if none."""
    params = input_data.get("params")
    if isinstance(params, Mapping):
        return params or None
    return {name: value for name, value in input_data.items() if name not in _NO_PARAMS} or None


def naming_plain_params(names: Iterable[str]) -> dict[str, Any]:
    """The part of a workflow's definition that names the params whose types have no secret."""
    return {_METADATA: {_OWNER: {_PLAIN: sorted(names)}}}


def without_names(definition: JsonObject) -> dict[str, Any]:
    """A definition without that part, which changes nothing in what runs."""
    return {name: value for name, value in definition.items() if name != _METADATA}


def showable_params(definition: JsonObject, input_data: JsonObject) -> JsonObject | None:
    """The params of a workflow's instance, masked unless its definition names them as plain.

    Returns:
        None if the workflow has none, or its definition names none.
    """
    params, plain = input_data.get("params"), _plain_params(definition)
    if plain is None or not isinstance(params, Mapping) or not params or is_too_deep(params):
        return None
    shown: JsonObject = mask_json({name: value if name in plain else MASK for name, value in params.items()})
    return shown


def possible_secrets(definition: JsonObject, input_data: JsonObject) -> frozenset[str]:
    """The texts in an instance's params, but for those that its definition names as plain."""
    params, plain = input_data.get("params"), _plain_params(definition) or ()
    if not isinstance(params, Mapping):
        return frozenset()
    return texts_in([value for name, value in params.items() if name not in plain])


def texts_in(value: Any) -> frozenset[str]:
    """The texts and numbers in a JSON value, as text."""
    found, waiting = set(), [value]
    while waiting:
        match waiting.pop():
            case Mapping() as inner:
                waiting += inner.values()
            case list() as inner:
                waiting += inner
            case leaf:
                found.add(str(leaf))
    return frozenset(found)


def has_result(definition: JsonObject) -> bool:
    """Whether a workflow has a result to show. One declared `-> None` has at most a workspace in its outputs.

    A server then gives the output of the last task, which is also that of a definition written by hand.
    """
    outputs = set(definition.get("outputParameters") or ())
    return "result" in outputs or (outputs != {"workspace"} and _plain_params(definition) is None)


def _plain_params(definition: JsonObject) -> list[Any] | None:
    """The names in a definition of the params that are no secrets; None if it was not declared in Python."""
    found: JsonObject = definition
    for name in (_METADATA, _OWNER):
        part = found.get(name)
        found = part if isinstance(part, Mapping) else {}
    plain = found.get(_PLAIN)
    return plain if isinstance(plain, list) else None
