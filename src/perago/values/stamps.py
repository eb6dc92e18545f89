"""Writing and reading stamps as pairs of strings, which each store keeps in its own form (trailers, metadata).

Reading is strict: a stamp that does not parse completely is no stamp, and its commit is foreign.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from perago.values.history import Stamp
from perago.values.json_text import JsonObject, with_finite_numbers
from perago.values.redaction import mask_json

MAX_STORED_BYTES = 16 * 1024
"""Limit for each of params and result in a stamp, measured as one line of JSON in UTF-8, as stores write it."""

_ON_A_LINE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spare space, in ASCII. Equal values give equal text on every host.

    Raises:
        ValueError, TypeError: the value is not JSON (for example NaN or infinity).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sorted_json(items: Iterable[Any]) -> list[Any]:
    """JSON values in one order on every host, such as those of a set. Numbers that are not finite are text."""
    return sorted(with_finite_numbers([*items]), key=canonical_json)


def json_digest(value: Any) -> str:
    """`sha256:<hex>` of a JSON value."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def storable(value: JsonObject) -> tuple[JsonObject | None, bool]:
    """The form of a JSON object that a stamp may store, and whether it equals the object.

    Returns:
        the object with secret fields masked, or None if it is larger than `MAX_STORED_BYTES`; and True if nothing was
        masked or left out. The size is that of the text which `to_pairs` writes: printable characters as they are,
        others escaped.
    """
    masked = mask_json(value)
    if len(_write_object(masked).encode()) > MAX_STORED_BYTES:
        return None, False
    return masked, masked == value


def to_pairs(stamp: Stamp) -> dict[str, str]:
    """A stamp as ordered pairs: names in kebab case, values on one line. Omits fields that are None."""
    pairs = {}
    for name, codec in _CODECS.items():
        value = getattr(stamp, name)
        if value is not None:
            pairs[name.replace("_", "-")] = codec.write(value)
    return pairs


def from_pairs(pairs: Mapping[str, str]) -> Stamp | None:
    """Read the pairs of `to_pairs`. Returns None if a field is missing, unreadable or of the wrong type.

    Unknown names are ignored, so that later versions can add some.
    """
    values: dict[str, Any] = {}
    try:
        for name, codec in _CODECS.items():
            text = pairs.get(name.replace("_", "-"))
            if text is not None:
                values[name] = codec.read(text)
        for name in _REQUIRED_BUT_NULLABLE:
            values.setdefault(name, None)
        return Stamp(**values)
    except (ValueError, TypeError, RecursionError):
        return None


class _Codec:
    """How one type of value is written on one line and read back."""

    def __init__(self, write: Callable[[Any], str], read: Callable[[str], Any]) -> None:
        self.write = write
        self.read = read


def _write_text(value: str) -> str:
    plain = value.isprintable() and value == value.strip() and not value.startswith('"')
    return value if plain and value else json.dumps(value)


def _read_text(text: str) -> str:
    if not text.startswith('"'):
        return text
    value = json.loads(text)
    if not isinstance(value, str):
        raise TypeError(text)
    return value


def _read_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _write_object(value: JsonObject) -> str:
    text = _ON_A_LINE.encode(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _read_object(text: str) -> JsonObject:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(text)
    return value


_TEXT = _Codec(_write_text, _read_text)
_NUMBER = _Codec(str, int)
_FLAG = _Codec(lambda value: "true" if value else "false", _read_flag)
_OBJECT = _Codec(_write_object, _read_object)
_LIST = _Codec(" ".join, lambda text: tuple(text.split()))

_KINDS = {
    "retry_count": _NUMBER,
    "scheduled_time": _NUMBER,
    "poll_count": _NUMBER,
    "duration_ms": _NUMBER,
    "result_exact": _FLAG,
    "code_dirty": _FLAG,
    "params": _OBJECT,
    "workflow_params": _OBJECT,
    "result": _OBJECT,
    "abandoned": _LIST,
    "cache_parts": _OBJECT,
    "selection": _OBJECT,
    "reverts": _LIST,
    "series": _OBJECT,
}
_CODECS = {field.name: _KINDS.get(field.name, _TEXT) for field in fields(Stamp)}
_REQUIRED_BUT_NULLABLE = ("scheduled_time", "poll_count")
