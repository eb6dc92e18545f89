"""Reads the small files that hold settings and credentials: text, dotenv, TOML and YAML."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dotenv.parser import Binding

MAX_BYTES = 1024 * 1024
"""Limit for such a file."""


def read_file(path: Path) -> str:
    """The text of a small file.

    Raises:
        ValueError: it cannot be read. Completes the sentence "cannot be read: ...".
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise ValueError(exc.strerror or "unknown error") from exc
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ValueError("it is not UTF-8") from exc


def parse_yaml(content: str) -> Mapping[Any, Any]:
    """A YAML document that is a mapping. An empty document counts as an empty mapping.

    Raises:
        ValueError: it is not one. Shows nothing of the document, which holds secrets.
        ImportError: the parser is not installed.
    """
    import yaml

    try:
        document = yaml.safe_load(content)
    except Exception as exc:  # noqa: BLE001 - on wrong numbers and dates the parser raises what it meets
        mark = getattr(exc, "problem_mark", None)
        raise ValueError(f"it is not valid YAML{'' if mark is None else f' in line {mark.line + 1}'}") from None
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise ValueError("it is not a YAML mapping")  # noqa: TRY004 - the file is wrong, not the argument
    return document


def parse_dotenv(content: str) -> Sequence[Binding]:
    """The statements of a dotenv file, as they stand: `$NAME` in a value may be part of a password."""
    from dotenv.parser import parse_stream

    return list(parse_stream(io.StringIO(content)))


def value_at(document: Mapping[Any, Any], key: str) -> object:
    """The value at a dotted key; None if there is none. Names are compared without case, as by lakectl."""
    value: object = document
    for name in key.split("."):
        found = value.items() if isinstance(value, Mapping) else ()
        value = next((inner for written, inner in found if str(written).lower() == name), None)
    return value
