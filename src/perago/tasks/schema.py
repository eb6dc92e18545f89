"""The JSON schema of a task's model as a TaskDef holds it: fields only, without a `$ref`, open or closed throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ComputedField

from perago.errors import TaskDefinitionError

MAX_SCHEMAS = 10_000
"""Schemas that one model may come to once every reference is replaced by what it refers to."""

_DEFINITIONS = "#/$defs/"

# Keywords of JSON Schema (2020-12) whose value is a schema, a list of them, or a mapping to them.
_ONE = frozenset({"items", "additionalProperties", "contains", "contentSchema", "propertyNames", "not"})
_LIST = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPPING = frozenset({"properties", "patternProperties", "dependentSchemas"})

# What is kept of a class with fields. What it says of itself (title, docstring, json_schema_extra) is not: a registered
# TaskDef is to change when the fields do, and only then.
_OF_A_CLASS = ("properties", "type", "required")

_COMPUTED = "x-perago-computed"
"""Marks what a model computes: `readOnly`, which pydantic writes there, users set for fields, too."""


class _Written(GenerateJsonSchema):
    """What a model writes, with a mark; of the same faults the schema of what it reads has warned."""

    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def computed_field_schema(self, schema: ComputedField) -> dict[str, Any]:
        return {**super().computed_field_schema(schema), _COMPUTED: True}


def model_schema(model: type[BaseModel], *, closed: bool, computed: bool = False) -> dict[str, Any]:
    """The JSON schema of what validates as a model; of one that refers to itself `{}`, which is anything.

    A TaskDef can hold no schema without end, and 0.6 registered such models like that. Within another model the part
    that would begin anew is `{}`.

    Args:
        closed: objects with fields refuse others, at every depth; else they allow them.
        computed: with what the models compute, which stands in a result beside their fields.

    Raises:
        TaskDefinitionError: the model has a field that JSON Schema cannot express or a name that is not defined, or its
            schema is too large.
    """
    try:
        schema = model.model_json_schema()
        if computed:
            schema = _with_computed(model, schema)
    except PydanticInvalidForJsonSchema as exc:
        raise TaskDefinitionError(
            f"model {_name(model)} has no JSON schema: {exc.message}; use a field type that JSON can hold"
        ) from exc
    except PydanticUserError as exc:
        raise TaskDefinitionError(f"model {_name(model)} has no JSON schema: {exc.message}") from exc
    definitions = schema.pop("$defs", {})
    if "$ref" in schema and not _has_fields(schema):  # so pydantic writes a model that something in it refers to
        return {}
    return _Inliner(_name(model), definitions, closed).inline(_fields_only(schema), ())


def _with_computed(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with computed fields, and nothing else, as what the model writes has it.

    The rest stays as it is read: TaskDefs are registered with it, and a worker starts with those only. What is computed
    has no alias in a result.
    """
    try:
        written = model.model_json_schema(by_alias=False, schema_generator=_Written, mode="serialization")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return schema  # what is computed has no schema
    read, definitions = schema.get("$defs", {}), written.get("$defs", {})
    merged = {**definitions, **read}
    return {
        **_class_with_computed(schema, written),
        "$defs": {name: _class_with_computed(merged[name], definitions.get(name, {})) for name in merged},
    }


def _class_with_computed(read: Mapping[str, Any], written: Mapping[str, Any]) -> Mapping[str, Any]:
    if not (_has_fields(read) and _has_fields(written)):
        return read
    added = {
        name: schema
        for name, schema in written["properties"].items()
        if schema.get(_COMPUTED) and name not in read["properties"]
    }
    if not added:
        return read
    required = [*read.get("required", ()), *(name for name in added if name in written.get("required", ()))]
    return {**read, "properties": {**read["properties"], **added}, "required": required}


@dataclass
class _Inliner:
    """Replaces references by what they refer to."""

    model: str
    definitions: Mapping[str, Any]
    closed: bool
    count: int = 0

    def inline(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
        """The schema without references.

        Args:
            within: names of the definitions that this schema is part of, from the outside in.
        """
        self._count_one()
        result: dict[str, Any] = {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(_DEFINITIONS)
            if name not in within:
                result = self.inline(_fields_only(self.definitions[name]), (*within, name))
        for keyword, value in schema.items():
            if keyword not in ("$ref", "title", _COMPUTED):
                result[keyword] = self._inline_value(keyword, value, within)
        if _has_fields(schema):
            result["additionalProperties"] = not self.closed
        return result

    def _inline_value(self, keyword: str, value: Any, within: tuple[str, ...]) -> Any:
        if keyword in _ONE and isinstance(value, Mapping):
            return self.inline(value, within)
        if keyword in _LIST:
            return [self.inline(item, within) for item in value]
        if keyword in _MAPPING:
            return {name: self.inline(item, within) for name, item in value.items()}
        return value

    def _count_one(self) -> None:
        self.count += 1
        if self.count > MAX_SCHEMAS:
            raise TaskDefinitionError(
                f"the JSON schema of model {self.model} comes to more than {MAX_SCHEMAS} parts, too many for a "
                f"TaskDef; nest fewer models, or keep the data in a file"
            )


def _fields_only(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition of a class without what the class says of itself besides its fields."""
    if not _has_fields(definition):
        return definition
    return {keyword: definition[keyword] for keyword in _OF_A_CLASS if keyword in definition}


def _has_fields(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" and "properties" in schema


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"
