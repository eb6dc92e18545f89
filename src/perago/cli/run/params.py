"""The params of a run, as a person writes them."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Union, get_args, get_origin

import click
from pydantic import BaseModel

from perago.values.json_text import MAX_DEPTH, is_too_deep, with_finite_numbers

MAX_PARAMS_BYTES = 64 * 1024 * 1024
"""Size limit of the params: that of a message to a body's process (`worker.process.messages.MAX_MESSAGE_BYTES`)."""


_BOM = "\ufeff"
"""Byte order mark: some editors write it, but JSON does not allow it."""


def read_params(params: str | None, pairs: Sequence[str], model: type[BaseModel]) -> dict[str, Any]:
    """The params as JSON; not validated yet.

    Args:
        params: a JSON object, `@FILE` for one in a file, `-` for one on stdin. Default: an empty one.
        pairs: `key=value`, which override it. A value is JSON, or text if it is not JSON or the model wants text.
        model: the task's params model.

    Raises:
        UsageError: invalid JSON, not an object, not a pair, or an unreadable file. Values are not shown: they may
            be secrets.
    """
    given = {} if params is None else _read_object(params)
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise click.UsageError(f"--param takes key=value; {key!r} has no '='")
        if not key:
            raise click.UsageError("--param takes key=value; there is no key before the '='")
        given[key] = _read_value(text, model, key)
    return {key: with_finite_numbers(value) for key, value in given.items()}  # 1e999 is infinite


def _read_object(params: str) -> dict[str, Any]:
    text = _read_text(params)
    try:
        value = _loads(text, "--params")
    except ValueError as exc:
        takes = "It takes a JSON object, - for one on stdin, or @FILE for one in a file"
        hint = f"; did you mean '@{params}'?" if _looks_like_a_file(params) else ""
        raise click.UsageError(f"--params is not JSON: {exc}. {takes}{hint}") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"--params must be a JSON object, as in '{{\"key\": 1}}', not {_kind(value)}")
    return value


def _looks_like_a_file(params: str) -> bool:
    """Whether a file was named without `@`. Only then is the value shown: others may be secrets."""
    with suppress(OSError, ValueError):
        return params.endswith(".json") or Path(params).is_file()
    return False


def _read_text(params: str) -> str:
    if params == "-":
        return sys.stdin.read(MAX_PARAMS_BYTES).removeprefix(_BOM)
    if not params.startswith("@"):
        return params
    path = Path(params[1:]).expanduser()
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise click.UsageError(f"--params: {path} cannot be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"--params: {path} is not UTF-8") from None


def _read_value(text: str, model: type[BaseModel], key: str) -> Any:
    try:
        value = _loads(text, f"--param {key}")
    except ValueError:
        return text
    return text if not isinstance(value, str) and value is not None and _wants_text(model, key) else value


def _wants_text(model: type[BaseModel], key: str) -> bool:
    """Whether the field accepts only text, so that `version=1.10` is not a number."""
    from pydantic import SecretStr

    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            kind = field.annotation
            kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
            return set(kinds) <= {str, SecretStr, Path, type(None)}
    return False


def _loads(text: str, what: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if not is_too_deep(value):
            return value
    except RecursionError:
        pass
    raise click.UsageError(f"{what} is nested more than {MAX_DEPTH} deep; put such data into a file of the workspace")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind(value: object) -> str:
    names = {list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
