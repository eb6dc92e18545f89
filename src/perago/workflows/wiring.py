"""Whether what one task makes fits what another takes, by the JSON schemas of their fields.

What is refused could never work, such as text for a number; what depends on the value, such as a date in a text, passes
and is validated when the task gets it.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo

from perago.tasks.secrets import secrets_of

_DEFINITIONS = "#/$defs/"

FAULT_OF_A_LITERAL = " is a secret, which a workflow's definition would show; make it a param of the workflow"
"""The fault of a literal, after its place."""

Schema = Mapping[str, Any]


def field_type(field: FieldInfo) -> Any:
    """The type of a model's field, with its constraints."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def type_name(kind: Any) -> str:
    """A type as it is written in code, without constraints."""
    if getattr(kind, "__metadata__", None):
        kind = kind.__origin__
    if isinstance(kind, type) and not getattr(kind, "__args__", None):
        return kind.__name__
    return str(kind).replace("typing.", "")


def list_of(kind: Any, *, optional: bool) -> Any:
    """The type of a list of values of a type, some of which may be missing if they are optional."""
    return list[kind | None] if optional else list[kind]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The nearest known name, as the end of a sentence."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; it has {', '.join(known)}" if known else "; it has none"


def no_such(kind: Any, name: str) -> str:
    """The fault that a value of a type has no such field, as the end of a sentence."""
    model = model_of(kind)
    if model is None:
        return f"is of type {type_name(kind)} and has no field {name!r}"
    return f"has no field {name!r}{did_you_mean(name, [*model.model_fields, *model.model_computed_fields])}"


def type_within(kind: Any, step: int | str) -> tuple[Any] | None:
    """The type of a field or an item of a value, in a tuple; None if there is no such one."""
    model = model_of(kind)
    if model is not None:
        return _field_of(model, step) if isinstance(step, str) else None
    return _item_type(kind, step)


def _plain(kind: Any) -> Any:
    """A type without constraints, and without None beside it."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        others = [choice for choice in get_args(kind) if choice is not type(None)]
        if len(others) == 1:
            return _plain(others[0])
    return kind


def has_secret(value: object, kind: Any) -> bool:
    """Whether a value of a type has a secret in it, by the types of its parts. An empty one is none.

    Args:
        value: JSON, or what becomes it. Parts that do not validate, such as a value that only the run knows, have none.
    """
    if any(secrets_of(value, by_name=False)):
        return True
    try:
        return any(secrets_of(TypeAdapter(kind).validate_python(value), by_name=False))
    except (ValidationError, PydanticUserError):
        pass
    steps = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    parts = ((item, type_within(kind, step)) for step, item in steps if isinstance(step, int | str))
    return any(has_secret(item, inner[0]) for item, inner in parts if inner is not None)


def model_of(kind: Any) -> type[BaseModel] | None:
    """The model that a type is, without constraints and None; None if it is none."""
    plain = _plain(kind)
    return plain if isinstance(plain, type) and issubclass(plain, BaseModel) else None


def _field_of(model: type[BaseModel], name: str) -> tuple[Any] | None:
    """The type of a field, in a tuple; None if there is no such field."""
    if name in model.model_fields:
        return (field_type(model.model_fields[name]),)
    if name in model.model_computed_fields:
        return (model.model_computed_fields[name].return_type,)
    return None


def _item_type(kind: Any, key: int | str) -> tuple[Any] | None:
    """The type of an item, in a tuple; None if the type has no such item."""
    plain = _plain(kind)
    origin, arguments = get_origin(plain) or plain, get_args(plain)
    if isinstance(key, str):
        is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
        return (arguments[1] if len(arguments) == 2 else Any,) if is_mapping else None
    if isinstance(key, bool) or key < 0 or not (isinstance(origin, type) and issubclass(origin, Sequence)):
        return None
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return (arguments[key],) if key < len(arguments) else None
    return None if origin in (str, bytes) else (arguments[0] if arguments else Any,)


def misfit(made: Any, taken: Any) -> str | None:
    """Why a value of one type can never be given to a field of another; None if it can.

    Args:
        made: type of what is given, as a task's result has it.
        taken: type of the field that takes it.
    """
    if made == taken:
        return None
    written, read = _schema(made, "serialization"), _schema(taken, "validation")
    if written is None or read is None:
        return None
    return _Comparison(_definitions(written), _definitions(read)).fault(written, read, "", frozenset())


def _schema(kind: Any, mode: Literal["validation", "serialization"]) -> Schema | None:
    """The JSON schema of a type; None if it has none."""
    try:
        return _cached_schema(kind, mode)
    except TypeError:  # a type that is not hashable, such as a Literal of lists
        return _made_schema(kind, mode)


@lru_cache(maxsize=1024)
def _cached_schema(kind: Any, mode: Literal["validation", "serialization"]) -> Schema | None:
    return _made_schema(kind, mode)


def _made_schema(kind: Any, mode: Literal["validation", "serialization"]) -> Schema | None:
    try:
        # Results are written by the names of their fields, and given to params by their aliases.
        return TypeAdapter(kind).json_schema(mode=mode, by_alias=mode == "validation")
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return None


def _definitions(schema: Schema) -> Schema:
    found: Schema = schema.get("$defs", {})
    return found


class _Comparison:
    """Compares two schemas, each with definitions of its own."""

    def __init__(self, written: Schema, read: Schema) -> None:
        self._written = written
        self._read = read

    def fault(self, made: Schema, taken: Schema, where: str, within: frozenset[tuple[str, str]]) -> str | None:
        """The first fault; None if there is none.

        Args:
            where: path in the value, for the message.
            within: pairs of references that are being compared, which models that refer to themselves meet again.
        """
        pair = (str(made.get("$ref")), str(taken.get("$ref")))
        if "$ref" in made and "$ref" in taken:
            if pair in within:
                return None
            within |= {pair}
        alternatives = list(_alternatives(taken, self._read))
        for one in _alternatives(made, self._written):
            faults = [self._fault_of_one(one, other, where, within) for other in alternatives]
            if all(faults):
                return faults[0] if len(faults) == 1 else _mismatch(where, one, alternatives)
        return None

    def _fault_of_one(self, made: Schema, taken: Schema, where: str, within: frozenset[tuple[str, str]]) -> str | None:
        kind, wanted = made.get("type"), taken.get("type")
        if kind is None or wanted is None:  # anything, or a set of values
            return _values_fault(made, taken, where)
        if not _may_be(kind, wanted):
            return _mismatch(where, made, [taken])
        if kind == "object" and wanted == "object":
            return self._object_fault(made, taken, where, within)
        if kind == "array" and wanted == "array":
            inner, items = made.get("items"), taken.get("items")
            if isinstance(inner, Mapping) and isinstance(items, Mapping):
                return self.fault(inner, items, f"{where or 'it'}[]", within)
            return None
        return _values_fault(made, taken, where)

    def _object_fault(self, made: Schema, taken: Schema, where: str, within: frozenset[tuple[str, str]]) -> str | None:
        has, wants = made.get("properties"), taken.get("properties")
        if has is None or wants is None:
            return None  # a mapping, whose keys are not known
        prefix = f"{where}." if where else ""
        for name in taken.get("required", ()):
            if name not in has:
                return f"it has no field {prefix}{name}"
        if taken.get("additionalProperties") is False:
            for name in has:
                if name not in wants:
                    return f"it has a field {prefix}{name}, which is not taken"
        for name in [name for name in wants if name in has]:
            found = self.fault(has[name], wants[name], f"{prefix}{name}", within)
            if found is not None:
                return found
        return None


def _alternatives(schema: Schema, definitions: Schema) -> Iterator[Schema]:
    """A schema as the schemas of which one holds, without references at their top."""
    if isinstance(reference := schema.get("$ref"), str):
        yield from _alternatives(definitions[reference.removeprefix(_DEFINITIONS)], definitions)
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        for choice in choices:
            yield from _alternatives(choice, definitions)
    elif isinstance(whole := schema.get("allOf"), list) and len(whole) == 1:
        yield from _alternatives(whole[0], definitions)
    else:
        yield schema


def _may_be(made: str, taken: str) -> bool:
    """Whether pydantic may read JSON of one type as another.

    Text is read as a number if it looks like one; that depends on the value, and whoever declares text means text.
    """
    return made == taken or (made, taken) == ("integer", "number")


def _values_fault(made: Schema, taken: Schema, where: str) -> str | None:
    """The fault if a type lists its values: one that may be made is not among those that are taken."""
    given, wanted = _values(made), _values(taken)
    if given is None or wanted is None:
        return None
    left = [value for value in given if value not in wanted]
    return f"{where or 'it'} may be {left[0]!r}, which is none of {', '.join(map(repr, wanted))}" if left else None


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    return found if isinstance(found, list) else None


def _mismatch(where: str, made: Schema, alternatives: list[Schema]) -> str:
    verb = "may be" if made.get("type") == "null" else "is"
    return f"{where or 'it'} {verb} {_named(made)}, not {_or(alternatives)}"


def _named(schema: Schema) -> str:
    words = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    words |= {"array": "a list", "object": "an object", "null": "null"}
    kind = schema.get("type")
    return words.get(str(kind), "anything")


def _or(alternatives: list[Schema]) -> str:
    return " or ".join(dict.fromkeys(map(_named, alternatives)))
