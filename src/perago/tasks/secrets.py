"""The secrets among a task's params."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from perago.values.redaction import is_secret_key

_PLAIN = (int, float, bool, type(None))


def secrets_of(params: BaseModel) -> Iterator[str]:
    """Secret texts at any depth: values of pydantic's secret types, and texts with secret-like names.

    The name of an id (`secret_id`, `token_id`) does not make a text secret: the secret is stored elsewhere, and its id
    may be a common word.
    """
    waiting: list[tuple[object, bool]] = [(params, False)]
    # Models may refer to one another. The objects are kept, because an id is only unique while its object exists.
    seen: dict[tuple[int, bool], object] = {}
    while waiting:
        value, is_secret = waiting.pop()
        if type(value) in _PLAIN or (id(value), is_secret) in seen:
            continue
        seen[id(value), is_secret] = value
        match value:
            case Secret() | SecretStr() | SecretBytes():
                waiting.append((value.get_secret_value(), True))
            case str():
                if is_secret:
                    yield value
            case bytes():
                if is_secret:
                    yield value.decode(errors="replace")
            case list() | set() | frozenset() | tuple() if not hasattr(value, "_fields"):
                waiting += [(item, is_secret) for item in value]
            case _:
                waiting += [(item, is_secret or any(map(_is_of_secret, names))) for names, item in _members(value)]


def _members(value: object) -> Iterable[tuple[tuple[str, ...], object]]:
    """The members of an object, each with its names."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        for name, item in {**vars(value), **(value.__pydantic_extra__ or {})}.items():
            field = fields.get(name)
            aliases = () if field is None else (field.alias, field.validation_alias, field.serialization_alias)
            yield (name, *(alias for alias in aliases if isinstance(alias, str))), item
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield (str(key),), item
    elif isinstance(value, tuple):  # a named tuple
        for name, item in zip(getattr(value, "_fields", ()), value, strict=False):
            yield (str(name),), item
    elif dataclasses.is_dataclass(value):
        named = {entry.name: getattr(value, entry.name, None) for entry in dataclasses.fields(value)}
        for name, item in {**getattr(value, "__dict__", {}), **named}.items():
            yield (name,), item


def _is_of_secret(name: str) -> bool:
    return is_secret_key(name) and not name.lower().endswith("id")
