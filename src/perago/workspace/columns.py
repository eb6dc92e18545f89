"""A compact file of many records: one line of JSON, then a column after the other, with a sum that shows damage.

Columns take a third of the memory and the time of as many JSON objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

_MAX_HEAD_BYTES = 4096
_SEPARATOR = "\0"


def encode(form: str, facts: Sequence[Any], columns: Sequence[bytes]) -> Iterator[bytes]:
    """The pieces of a file.

    Args:
        form: name and version of the format.
        facts: what JSON can hold; little.
    """
    head = json.dumps([form, _sum(columns), [len(column) for column in columns], facts])
    yield head.encode("ascii") + b"\n"
    yield from columns


def decode(form: str, file: BinaryIO) -> tuple[list[Any], list[bytes]]:
    """The facts and columns of a file.

    Raises:
        ValueError, TypeError, OverflowError, RecursionError: it is damaged, or has another format.
    """
    named, total, lengths, facts = json.loads(file.readline(_MAX_HEAD_BYTES))
    columns = [file.read(length) for length in lengths]
    if (named, total) != (form, _sum(columns)):
        raise ValueError(f"its sum is not {total!r}")
    return facts, columns


def text_column(texts: Collection[str]) -> bytes:
    """The column of some texts.

    Raises:
        ValueError: one of them contains a NUL, or cannot be encoded.
    """
    joined = _SEPARATOR.join(texts)
    if joined.count(_SEPARATOR) != max(len(texts) - 1, 0):
        raise ValueError("a text contains a NUL")
    return joined.encode("utf-8", "surrogateescape")


def texts_of(column: bytes, count: int) -> list[str]:
    """The texts of a column.

    Raises:
        ValueError: it is the column of more, or fewer.
    """
    texts = column.decode("utf-8", "surrogateescape").split(_SEPARATOR) if count else []
    if len(texts) != count:
        raise ValueError(f"a column has {len(texts)} texts, not {count}")
    return texts


def _sum(columns: Iterable[bytes]) -> str:
    """Shows damage by a disk."""
    found = hashlib.blake2b(digest_size=16)
    for column in columns:
        found.update(column)
    return found.hexdigest()
