"""What tasks with a cache make, said a second time, and what stamps tell of where their results came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

CACHED = {"digest": "digest.txt", "derive": "derived/all.txt"}
"""Tasks with a cache, one after the other, and the file that each makes anew."""

NUMBERS = 4
"""Params of theirs that differ: few enough that results are there, and enough that some are computed throughout."""

BY_HAND = ("readme.txt", "digest.txt")
"""Files that a person changes: what the first task reads, and what it makes."""

CACHED_SEES: Mapping[str, Callable[[str], bool]] = {
    "digest": lambda path: path in ("readme.txt", "digest.txt"),
    "derive": lambda path: path == "digest.txt" or fnmatchcase(path, "derived/*"),
}

HITS, SAME, COMPUTED = "results taken and published", "results taken that were there", "results computed for the cache"


def made(name: str, files: Mapping[str, bytes], number: int) -> bytes:
    """What a task makes of the files of its input."""
    if name == "digest":
        return b"%d of %s" % (number, files.get("readme.txt", b""))
    return b"%d derived of %s" % (number, files.get("digest.txt", b""))


def number_of(commit: Any) -> int:
    """The params in a stamp."""
    return int(json.loads(commit["metadata"]["perago.params"])["number"])


def counted(logs: Iterable[Iterable[Any]]) -> Counter[str]:
    """How often results were taken, and how often computed, by the commits of branches."""
    counts: Counter[str] = Counter()
    for metadata in _each(logs).values():
        is_taken, is_seal = "perago.cached-from" in metadata, "perago.completes" in metadata
        if "perago.cache-key" in metadata:
            counts[(SAME if is_seal else HITS) if is_taken else COMPUTED] += 1
    return counts


def cached_faults(logs: Iterable[Iterable[Any]]) -> Iterator[str]:
    """A result that was taken is that of a body, for the same key, and was taken by a first try."""
    commits = _each(logs)
    for commit, metadata in commits.items():
        origin = metadata.get("perago.cached-from")
        if origin is None:
            continue
        source = commits.get(origin, {})
        if not metadata.get("perago.cache-key") or source.get("perago.cache-key") != metadata["perago.cache-key"]:
            yield f"{commit} took the result of {origin}, which has another key"
        if "perago.cached-from" in source:
            yield f"{commit} names {origin} as its source, which took its result itself"
        is_seal = "perago.completes" in metadata  # which may be of a retry that adopted the result of an earlier try
        if metadata["perago.retry-count"] != "0" and not is_seal:
            yield f"{commit} took a result, although it is a retry"


def _each(logs: Iterable[Iterable[Any]]) -> dict[str, Mapping[str, str]]:
    """The metadata of each commit, by its id."""
    return {commit["id"]: commit["metadata"] for log in logs for commit in log}
