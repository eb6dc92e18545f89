"""Whether a body does the same twice: what differs between two runs on one input, and the likely cause."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from perago.values.json_text import JsonObject

MAX_LOOKED_INTO = 64 * 1024 * 1024
"""Bytes of all files of a run that are kept, to look for the cause of a difference."""

_GZIP = b"\x1f\x8b"
_PDF_TIMES = re.compile(rb"/(?:CreationDate|ModDate)\s*\([^)]*\)|/ID\s*\[[^\]]*\]")


@dataclass(frozen=True)
class Made:
    """A file that a body has left.

    Attributes:
        digest: of its content and its executable bit.
        content: None if there was no room for it; see `MAX_LOOKED_INTO`.
    """

    digest: str
    content: bytes | None


@dataclass(frozen=True)
class OneRun:
    """What a body has done once.

    Attributes:
        made: the files that it has added or changed.
        deleted: paths of its input.
    """

    result: JsonObject
    made: Mapping[str, Made]
    deleted: Sequence[str] = ()


@dataclass(frozen=True)
class Difference:
    """Something that two runs made differently.

    Attributes:
        what: a path, or a field of the result as `result.rows`.
        how: what the difference is.
        hint: the likely cause, and what to do; "" if none is known.
    """

    what: str
    how: str
    hint: str = ""


def differences(one: OneRun, other: OneRun) -> list[Difference]:
    """Between two runs: of files, then of results."""
    return [
        *_of_files(one.made, other.made),
        *_of_deletions(one.deleted, other.deleted),
        *_of_results("result", one.result, other.result),
    ]


def _of_deletions(one: Sequence[str], other: Sequence[str]) -> Iterator[Difference]:
    for path in sorted({*one} ^ {*other}):
        yield Difference(path, f"deleted by the {'first' if path in one else 'second'} run only", _DRAWN)


def _of_files(one: Mapping[str, Made], other: Mapping[str, Made]) -> Iterator[Difference]:
    for path in sorted(one.keys() | other.keys()):
        first, second = one.get(path), other.get(path)
        if first is None or second is None:
            when = "first" if second is None else "second"
            yield Difference(path, f"made by the {when} run only", "is its name a time, an id or a random number?")
        elif first.digest != second.digest:
            yield Difference(path, "its content differs", _cause(first.content, second.content))


def _of_results(what: str, one: object, other: object) -> Iterator[Difference]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys([*one, *other]):
            yield from _of_results(f"{what}.{name}", one.get(name, _MISSING), other.get(name, _MISSING))
    elif one != other:
        is_order = (
            isinstance(one, list) and isinstance(other, list) and sorted(map(repr, one)) == sorted(map(repr, other))
        )
        yield Difference(what, "its value differs", _ORDER if is_order else _DRAWN)


_MISSING = object()

_ORDER = "the same in another order: sort what a set, a directory or threads give"
_DRAWN = "is it a time, an id or a random number? Give the generator a seed, and take times from the params"


def _cause(one: bytes | None, other: bytes | None) -> str:
    if one is None or other is None:
        return ""
    if one.startswith(_GZIP) and one[:4] + one[8:] == other[:4] + other[8:]:
        return "only the time in the header of gzip: give mtime=0"
    if _entries_of_zip(one) is not None and _entries_of_zip(one) == _entries_of_zip(other):
        return "only the times of the entries of the zip file: give each ZipInfo a fixed date_time"
    if one.startswith(b"%PDF") and _PDF_TIMES.sub(b"", one) == _PDF_TIMES.sub(b"", other):
        return "only the times and the id of the PDF file: fix them, or set SOURCE_DATE_EPOCH"
    if one.startswith(b"PAR1"):
        return "a Parquet file: its rows may be in another order, or its metadata may have a time"
    if sorted(one.splitlines()) == sorted(other.splitlines()):
        return _ORDER
    return _DRAWN


def _entries_of_zip(content: bytes) -> list[tuple[object, ...]] | None:
    """All that entries hold but their times; None if it is no zip file that Python reads."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return [
                (entry.filename, entry.CRC, entry.file_size, entry.compress_type, entry.external_attr)
                for entry in archive.infolist()
            ]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):  # none; of another version; cut off
        return None
