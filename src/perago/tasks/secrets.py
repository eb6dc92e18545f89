"""The secrets among a task's params."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_jsonable_python

from perago.values.redaction import MASK, is_secret_key
from perago.values.stamps import sorted_json

_PLAIN = (int, float, bool, type(None))


def secrets_of(params: object, *, by_name: bool = True) -> Iterator[str]:
    """Secret texts at any depth: values of pydantic's secret types, and those with secret-like names.

    The name of an id (`secret_id`, `token_id`) does not make a text secret: the secret is stored elsewhere, and its id
    may be a common word. A number or another object is told as the text that Python and JSON write for it, bytes as
    text and as digits.

    Args:
        by_name: also what only a name makes a secret.
    """
    waiting: list[tuple[object, bool]] = [(params, False)]
    # Models may refer to one another. The objects are kept, because an id is only unique while its object exists.
    seen: dict[tuple[int, bool], object] = {}
    while waiting:
        value, is_secret = waiting.pop()
        if type(value) in _PLAIN:
            if is_secret:
                yield from _texts_of_number(value)
            continue
        if (id(value), is_secret) in seen:
            continue
        seen[id(value), is_secret] = value
        match value:
            case Secret() | SecretStr() | SecretBytes():
                waiting.append((value.get_secret_value(), True))
            case str() | bytes():
                if is_secret:
                    yield from _texts(value)
            case list() | set() | frozenset() | deque() | tuple() if not hasattr(value, "_fields"):
                waiting += [(item, is_secret) for item in value]
            case _:
                if is_secret:
                    yield from _texts_of_object(value)
                if isinstance(value, Mapping):
                    waiting += [(key, is_secret) for key in value if not isinstance(key, str)]
                for names, item in _members(value):
                    waiting.append((item, is_secret or (by_name and any(map(_is_of_secret, names)))))


def _texts(value: str | bytes) -> Iterator[str]:
    if isinstance(value, bytes):
        yield value.decode(errors="surrogateescape")
        yield value.hex()
    else:
        yield str(value)


def _texts_of_number(value: object) -> Iterator[str]:
    if not isinstance(value, bool | None):
        yield repr(value)


def _texts_of_object(value: object) -> Iterator[str]:
    """A secret of another type, such as a date or a URL, as text. Nothing for a container, whose members follow."""
    if isinstance(value, Mapping | BaseModel | tuple) or dataclasses.is_dataclass(value):
        return
    with suppress(Exception):  # a foreign `__str__`
        yield str(value)
    with suppress(Exception):
        written = to_jsonable_python(value)
        if isinstance(written, str):
            yield written


def plain_fields(model: type[BaseModel]) -> list[str]:
    """The fields of a model whose types have no place for a secret: numbers, texts, dates, and lists, mappings and
    models of these. A type that is not known to be plain is not."""
    return [name for name, field in model.model_fields.items() if _is_plain(field.annotation, frozenset())]


_PLAIN_TYPES = (str, bytes, int, float, complex, Decimal, UUID, PurePath, date, time, timedelta, Enum, type(None))
_PLAIN_ORIGINS = (list, tuple, set, frozenset, deque, dict, Mapping, Sequence, Set, Iterable)


def _is_plain(kind: Any, within: frozenset[Any]) -> bool:
    """Whether no value of a type holds a secret. `within`: the models around it."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _is_plain(get_args(kind)[0], within)
    if origin is Literal or kind is Ellipsis:
        return True
    if origin in (Union, UnionType) or origin in _PLAIN_ORIGINS:
        return all(_is_plain(one, within) for one in get_args(kind))
    if not isinstance(kind, type) or origin is not None:
        return False
    if not issubclass(kind, BaseModel):
        return issubclass(kind, _PLAIN_TYPES)
    if kind.model_config.get("extra") == "allow":
        return False
    fields = kind.model_fields.values()
    return kind in within or all(_is_plain(field.annotation, within | {kind}) for field in fields)


def mask_by_type(value: object, dumped: Any) -> Any:
    """A dump with secrets masked where the value has one of pydantic's secret types, whatever their serializers write.
    The items of a set are sorted, so that they are alike in all processes.

    Args:
        dumped: of the value, as JSON. A part that is not laid out as the value is masked as a whole if a secret is in
            that part of the value, and a computed field if a secret is in its text.
    """
    match value:
        case Secret() | SecretStr() | SecretBytes():
            return MASK if value.get_secret_value() or dumped else dumped
        case RootModel():
            return mask_by_type(value.root, dumped)
        case list() | tuple() | deque() if _is_laid_out_as(value, dumped):
            return [mask_by_type(item, shown) for item, shown in zip(value, dumped, strict=True)]
        case set() | frozenset() if _is_laid_out_as(value, dumped) and not any(secrets_of(value, by_name=False)):
            return sorted_json(mask_by_type(item, shown) for item, shown in zip(value, dumped, strict=True))
        case Mapping() | BaseModel() | tuple() if isinstance(dumped, dict):
            return _masked_members(value, dumped)
        case _ if dataclasses.is_dataclass(value) and isinstance(dumped, dict):
            return _masked_members(value, dumped)
    return MASK if any(secrets_of(value, by_name=False)) else dumped


def _is_laid_out_as(value: Sized, dumped: object) -> bool:
    return isinstance(dumped, list) and len(dumped) == len(value)


def _masked_members(value: object, dumped: dict[str, Any]) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for names, item in _members(value):
        masked |= {name: mask_by_type(item, dumped[name]) for name in names if name in dumped}
    others = dumped.keys() - masked.keys()
    secrets = [*secrets_of(value, by_name=False)] if others else []
    masked |= {name: MASK for name in others if any(secret in str(dumped[name]) for secret in secrets if secret)}
    return {name: masked.get(name, shown) for name, shown in dumped.items()}


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
