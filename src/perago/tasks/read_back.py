"""Reads a result back as its model. Its validators made the result, and must not run on their own output."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import SchemaValidator, to_json
from pydantic_core.core_schema import no_info_after_validator_function

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
    """A core schema without limits, and without validators that are functions, but for pydantic's own.

    Models are constructed: pydantic would take the validator that each has, rather than one of this schema.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(map(_loosened, schema))
    if not isinstance(schema, Mapping):
        return schema
    if str(schema.get("type")).startswith("function-") and "schema" in schema and not _is_of_pydantic(schema):
        return _loosened(schema["schema"])
    if schema.get("type") == "model":
        construct = partial(_constructed, schema["cls"], is_root=schema["root_model"])
        return no_info_after_validator_function(construct, _loosened(schema["schema"]), ref=schema.get("ref"))
    return {
        key: item if key == "serialization" else _loosened(item)
        for key, item in schema.items()
        if key not in _LIMITS or isinstance(item, Mapping)  # a field of this name
    }


def _constructed(model: type[BaseModel], parts: Any, *, is_root: bool) -> BaseModel:
    if is_root:
        return model.model_construct(root=parts)
    values, _extra, given = parts
    return model.model_construct(_fields_set=given, **values)


def _is_of_pydantic(schema: Mapping[str, Any]) -> bool:
    function = schema["function"]["function"]
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("pydantic", "pydantic_core")
