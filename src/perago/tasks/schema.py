"""The JSON schema of a task's model in a TaskDef: only fields, no `$ref`, open or closed throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ComputedField

from perago.errors import TaskDefinitionError
from perago.values.json_text import with_finite_numbers

MAX_SCHEMAS = 10_000
"""Maximum number of schemas of one model after its references are replaced by their targets."""

_DEFINITIONS = "#/$defs/"

# Keywords of JSON Schema (2020-12) whose value is a schema, a list of them, or a mapping to them.
_ONE = frozenset({"items", "additionalProperties", "contains", "contentSchema", "propertyNames", "not"})
_LIST = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_MAPPING = frozenset({"properties", "patternProperties", "dependentSchemas"})

# Kept keywords of a class with fields. Title, docstring and json_schema_extra are dropped: a registered TaskDef must
# change only if the fields do.
_OF_A_CLASS = ("properties", "type", "required")

_COMPUTED = "x-perago-computed"
"""Marks computed fields. Pydantic's `readOnly` cannot: users set it for other fields, too."""


class _Written(GenerateJsonSchema):
    """Schema of a model's output, with marked computed fields. Its warnings repeat those of the input schema."""

    ignored_warning_kinds = GenerateJsonSchema.ignored_warning_kinds | {"non-serializable-default"}

    def computed_field_schema(self, schema: ComputedField) -> dict[str, Any]:
        return {**super().computed_field_schema(schema), _COMPUTED: True}


def model_schema(model: type[BaseModel], *, closed: bool, computed: bool = False) -> dict[str, Any]:
    """The JSON schema of a model's input. For a model that refers to itself it is `{}`, which allows anything.

    A TaskDef cannot hold an infinite schema, and 0.6 registered such models in this way. Within another model, the
    recursive part is `{}`.

    Args:
        closed: whether objects with fields refuse other fields, at every depth.
        computed: add the computed fields, which a result contains.

    Raises:
        TaskDefinitionError: a field has no JSON schema, a name is not defined, or the schema is too large.
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
    if "$ref" in schema and not _has_fields(schema):  # pydantic's form of a model that is referred to from within
        return {}
    inlined = _Inliner(_name(model), definitions, closed).inline(_fields_only(schema), ())
    return {keyword: with_finite_numbers(value) for keyword, value in inlined.items()}  # of defaults


def _with_computed(model: type[BaseModel], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, with computed fields from the output schema.

    The rest stays the input schema: TaskDefs are registered with it, and a worker starts only with those. Computed
    fields have no alias in a result.
    """
    try:
        written = model.model_json_schema(by_alias=False, schema_generator=_Written, mode="serialization")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return schema  # a computed field has no schema
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
    """Replaces references by their targets."""

    model: str
    definitions: Mapping[str, Any]
    closed: bool
    count: int = 0

    def inline(self, schema: Mapping[str, Any], within: tuple[str, ...]) -> dict[str, Any]:
        """The schema without references.

        Args:
            within: names of the definitions that contain this schema, from the outside in.
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
                f"the JSON schema of model {self.model} has more than {MAX_SCHEMAS} parts, too many for a "
                f"TaskDef; nest fewer models, or keep the data in a file"
            )


def _fields_only(definition: Mapping[str, Any]) -> Mapping[str, Any]:
    """The definition of a class, reduced to its fields."""
    if not _has_fields(definition):
        return definition
    return {keyword: definition[keyword] for keyword in _OF_A_CLASS if keyword in definition}


def _has_fields(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "object" and "properties" in schema


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"
