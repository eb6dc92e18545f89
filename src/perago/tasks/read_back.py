"""Reads a result back as its model. Its validators ran on its way out, and must not be applied to what they made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import SchemaValidator, to_json

from perago.tasks.params import dump_of, read_model
from perago.values.json_text import JsonObject

M = TypeVar("M", bound=BaseModel)

_LIMITS = frozenset(
    {"lt", "le", "gt", "ge", "multiple_of", "min_length", "max_length", "pattern", "max_digits", "decimal_places"}
)


def read_back(model: type[M], result: JsonObject) -> M:
    """The instance whose JSON is a result.

    If validation changes or refuses the result, it is read without the validators and limits of the model's fields. If
    even that does not lead to this JSON, as with null for a number that is not finite, the fields hold the JSON values.

    Args:
        result: as `validate_result` returns it.
    """
    for read in (_validated, _as_it_is):
        try:
            found = read(model, result)
            if dump_of(found) == result:
                return found
        except Exception:  # noqa: BLE001, S112 - a validator may raise anything
            continue
    return model.model_construct(**result)


def _validated(model: type[M], result: JsonObject) -> M:
    return read_model(model, result, by_alias=False, by_name=True)


def _as_it_is(model: type[M], result: JsonObject) -> M:
    loose = SchemaValidator(_loosened(model.__pydantic_core_schema__))
    found: M = loose.validate_json(to_json(result), by_alias=False, by_name=True)
    return found


def _loosened(schema: Any) -> Any:
    """A core schema without limits, and without validators that are functions, but for pydantic's own."""
    if isinstance(schema, Mapping):
        if str(schema.get("type")).startswith("function-") and "schema" in schema and not _is_of_pydantic(schema):
            return _loosened(schema["schema"])
        return {
            key: item if key == "serialization" else _loosened(item)
            for key, item in schema.items()
            if key not in _LIMITS or isinstance(item, Mapping)  # a field of this name
        }
    if isinstance(schema, list | tuple):
        return type(schema)(map(_loosened, schema))
    return schema


def _is_of_pydantic(schema: Mapping[str, Any]) -> bool:
    function = schema["function"]["function"]
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("pydantic", "pydantic_core")
