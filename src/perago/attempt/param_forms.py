"""Params as a key has them: a JSON value in which everything that a body can tell apart differs.

It is made of the values themselves, with their types, and not of pydantic's dump: there a `Path` and a text, a model
and its subclass, or two values that a serializer shortens are alike.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AnyUrl, BaseModel, MongoDsn, NameEmail, NatsDsn, PostgresDsn
from pydantic_core import MultiHostUrl, TzInfo, Url

from perago.tasks.sources.modules import real_name
from perago.tasks.sources.untold import UntoldError
from perago.values.names import show_name
from perago.values.redaction import mask_urls
from perago.values.stamps import sorted_json

_SHOWN_WHOLE = (
    *(date, timedelta, Decimal, Fraction, complex, UUID, NameEmail),
    *(PosixPath, PurePosixPath, PureWindowsPath, WindowsPath),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network),
    ZoneInfo,
)
"""Types whose `repr` has all of a value. Their subclasses may hold more."""

_CONTAINERS = (str, bytes, int, float, list, tuple, set, frozenset, dict, deque)

_URLS = (Url, MultiHostUrl, AnyUrl, PostgresDsn, MongoDsn, NatsDsn)
_FIXED_ZONES = (timezone, TzInfo)
_ZONES = (type(None), *_FIXED_ZONES, ZoneInfo)


def form_of(params: BaseModel) -> Any:
    """The params as JSON, by the names of their fields. Params with the same form are alike to a body, except that an
    `int` that stands where validation makes a `float` of it, such as a default `100`, counts as that float. Private
    attributes and `model_fields_set` do not count.

    Raises:
        UntoldError: no key can hold them; names the field.
    """
    for field in _withheld(type(params)):
        raise UntoldError(
            f"in the params, {field} has exclude=True or a serializer of its own, which may keep it out of the history"
        )
    try:
        return _members(params, _read_again(params), "params")
    except RecursionError:
        raise UntoldError("params are nested too deeply") from None


def _read_again(params: BaseModel) -> BaseModel:
    """The params as their model reads their own values, which it does not do for defaults."""
    try:
        values = params.model_dump(round_trip=True, by_alias=False, warnings=False)
        return type(params).model_validate(values, by_alias=False, by_name=True)
    except Exception:  # noqa: BLE001 - a validator may raise anything
        return params


def _form(value: object, read: object, where: str) -> Any:
    """Texts, numbers and so on as they are in JSON, others as a list that begins with their type.

    Args:
        read: the value as validation reads it.
        where: the path of the value.
    """
    match value:
        case int() if type(value) is int and type(read) is float and read == value:
            return read
        case None | bool():
            return value
        case str() | int() if type(value) in (str, int):
            return value
        case float() if type(value) is float and math.isfinite(value):
            return value
    return [_name(type(value)), *_content(value, read if type(read) is type(value) else value, where)]


def _content(value: object, read: Any, where: str) -> list[Any]:
    match value:
        case Enum():
            return [_form(value.value, value.value, where)]
        case BaseModel():
            return [_members(value, read, where)]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type) and _is_its_fields(value):
            return [_members(value, read, where)]
        case str() | int() if _has_no_more(value):
            return [value]
        case float() | bytes() if _has_no_more(value):
            return [float.__repr__(value) if isinstance(value, float) else value.hex()]
        case list() | tuple() if _has_no_more(value):
            return _items(value, read, where)
        case deque() if _has_no_more(value):
            return [value.maxlen, *_items(value, read, where)]
        case set() | frozenset() if _has_no_more(value):
            return sorted_json(_items(value, read, where))
        case defaultdict() if isinstance(value.default_factory, type | None) and _has_no_more(value):
            return [value.default_factory and _name(value.default_factory), *_pairs(value, read, where)]
        case dict() | MappingProxyType() if not isinstance(value, defaultdict) and _has_no_more(value):
            return _pairs(value, read, where)
        case re.Pattern():
            return [_form(value.pattern, value.pattern, where), value.flags]
        case _ if isinstance(value, _URLS) and getattr(value, "__dict__", {}).keys() <= {"_url"}:
            return [_without_user(str(value), where)]
        case datetime() | time() if type(value) in (datetime, time) and type(value.tzinfo) in _ZONES:
            return [repr(_in_plain_zone(value))]
        case _ if type(value) in _SHOWN_WHOLE:
            return [repr(value)]
    raise UntoldError(
        f"{show_name(where)} holds a value of type {type(value).__name__}, and no key can tell two of them apart"
    )


def _members(value: object, read: object, where: str) -> dict[str, Any]:
    """The fields of a model or a dataclass, and what else was set on it."""
    others = dict(_attributes(read))
    return {name: _form(item, others.get(name, item), f"{where}.{name}") for name, item in _attributes(value)}


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, BaseModel):
        yield from ((name, item) for name, item in vars(value).items() if name in type(value).model_fields)
        yield from ((f"extra.{name}", item) for name, item in (value.__pydantic_extra__ or {}).items())
    elif dataclasses.is_dataclass(value):
        fields = {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
        yield from {**getattr(value, "__dict__", {}), **fields}.items()


def _items(value: Iterable[Any], read: Iterable[Any], where: str) -> list[Any]:
    items, others = list(value), list(read)
    pairs = zip(items, others if len(others) == len(items) else items, strict=True)
    return [_form(item, other, f"{where}.{number}") for number, (item, other) in enumerate(pairs)]


def _pairs(value: Mapping[Any, Any], read: Mapping[Any, Any], where: str) -> list[Any]:
    """Keys with their values. Their order does not count."""
    keys = {key: key for key in read}
    pairs = (
        [_form(key, keys.get(key, key), where), _form(item, read.get(key, item), f"{where}.{key}")]
        for key, item in value.items()
    )
    return sorted_json(pairs)


def _in_plain_zone(value: datetime | time) -> datetime | time:
    """Pydantic's zone of a fixed offset as Python's own."""
    zone = value.tzinfo
    offset, name = (zone.utcoffset(None), zone.tzname(None)) if isinstance(zone, _FIXED_ZONES) else (None, None)
    return value if offset is None or name is None else value.replace(tzinfo=timezone(offset, name))


def _without_user(url: str, where: str) -> str:
    if mask_urls(url) != url:
        raise UntoldError(f"{show_name(where)} holds a secret")
    return url


def _is_its_fields(value: object) -> bool:
    """Whether a dataclass holds nothing but fields and attributes: it is no list or text besides, and has no slots of
    other names."""
    slots = {name for kind in type(value).__mro__ for name in _slots_of(kind)}
    fields = getattr(type(value), "__dataclass_fields__", {})
    return not isinstance(value, _CONTAINERS) and slots <= {*fields, "__dict__", "__weakref__"}


def _slots_of(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _has_no_more(value: object) -> bool:
    """Whether a value, of a subclass perhaps, has no attributes of its own."""
    return object.__getstate__(value) is None


def _name(kind: type) -> str:
    return f"{real_name(kind.__module__)}:{kind.__qualname__}"


# ---------------------------------------------------------------- what is kept out of the history


@cache
def _withheld(model: type[BaseModel]) -> tuple[str, ...]:
    """The fields that their author may keep out of the JSON form, and with it out of stamps and records.

    A digest would tell something of them. Serializers that come with pydantic leave nothing out.
    """
    return tuple(dict.fromkeys(_withheld_in(model.__pydantic_core_schema__, model.__name__, model.__name__)))


def _withheld_in(schema: object, owner: str, field: str) -> Iterator[str]:
    """Args:
    owner: the name of the model around it.
    field: with its model.
    """
    if isinstance(schema, dict):
        if schema.get("serialization_exclude") or schema.get("serialization_exclude_if") or _has_own(schema):
            yield field
        if isinstance(cls := schema.get("cls"), type) and schema.get("type") in ("model", "dataclass"):
            owner = field = cls.__name__
        fields = schema.get("fields")
        for name, part in schema.items():
            if name == "fields" and isinstance(fields, dict):
                for each, within in fields.items():
                    yield from _withheld_in(within, owner, f"{owner}.{each}")
            elif name != "metadata":
                yield from _withheld_in(part, owner, field)
    elif isinstance(schema, list | tuple):
        for part in schema:
            named = isinstance(part, dict) and part.get("type") == "dataclass-field"
            yield from _withheld_in(part, owner, f"{owner}.{part['name']}" if named else field)


def _has_own(schema: Mapping[Any, Any]) -> bool:
    """Whether a part has a serializer that does not come with pydantic."""
    serializer = schema.get("serialization")
    if not isinstance(serializer, dict) or not str(serializer.get("type", "")).startswith("function"):
        return False
    function = serializer.get("function")
    module = getattr(function, "__module__", None) or type(function).__module__
    # `int` writes a ByteSize, and `operator.attrgetter` a pattern.
    return function is not int and str(module).partition(".")[0] not in ("pydantic", "operator")
