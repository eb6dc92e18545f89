"""What tasks with a cache make, said a second time, and what stamps tell of where their results came from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from perago.values.joins import input_refs

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

HITS, COMPUTED = "results taken and published", "results computed for the cache"
THERE = "tasks with a cache whose result was there"


def made(name: str, files: Mapping[str, bytes], number: int) -> bytes:
    """What a task makes of the files of its input."""
    if name == "digest":
        return b"%d of %s" % (number, files.get("readme.txt", b""))
    return b"%d derived of %s" % (number, files.get("digest.txt", b""))


def number_of(commit: Any) -> int:
    """The params in a stamp."""
    return int(json.loads(commit["metadata"]["perago.params"])["number"])


def counted(logs: Iterable[Iterable[Any]], tasks: Iterable[Any]) -> Counter[str]:
    """How often results were taken, computed, and there already, by the publications on branches and by tasks."""
    published = [each for each in _each(logs).values() if "perago.cache-key" in each and "perago.completes" not in each]
    taken = sum("perago.cached-from" in metadata for metadata in published)
    there = sum(task["referenceTaskName"] in CACHED and _is_noop(task) for task in tasks)
    return Counter({HITS: taken, COMPUTED: len(published) - taken, THERE: there})


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
        if source.get("perago.completes", source.get("perago.input-ref")) != source.get("perago.input-ref"):
            yield f"{commit} names {origin} as its source, which only adopted it"
        is_seal = "perago.completes" in metadata  # which may be of a retry that adopted the result of an earlier try
        if metadata["perago.retry-count"] != "0" and not is_seal:
            yield f"{commit} took a result, although it is a retry"


def _is_noop(task: Any) -> bool:
    return task["status"] == "COMPLETED" and task["outputData"]["workspace"]["ref"] in input_refs(task["inputData"])


def _each(logs: Iterable[Iterable[Any]]) -> dict[str, Mapping[str, str]]:
    """The metadata of each commit, by its id."""
    return {commit["id"]: commit["metadata"] for log in logs for commit in log}
