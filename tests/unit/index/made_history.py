"""Histories made for a test, and a store's answer to what is new in one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

from perago.index.adding import CommitsSince
from perago.ports import CommitEntry
from perago.values.history import Stamp

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def id_of(name: object, digits: int = 64) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()[:digits]


def stamp(key: str | None = None, **fields) -> Stamp:
    filled = {
        "task": "train",
        "workflow_instance_id": "run-1",
        "reference_task_name": "train_ref",
        "task_id": "task-1",
        "retry_count": 0,
        "scheduled_time": None,
        "poll_count": 1,
        "execution_id": "execution-1",
        "input_ref": id_of("input"),
        "params_digest": "sha256:1",
        "code_digest": "sha256:2",
        "result_digest": "sha256:3",
        "result": {"rows": 3},
        "cache_key": key,
    }
    return Stamp(**{**filled, **fields})


def entry(name: object, *parents: str, seconds: float = 0, **fields) -> CommitEntry:
    """A commit whose id follows from its name."""
    filled = {
        "id": id_of(name),
        "parents": parents,
        "author": "Ada",
        "time": BEGIN + timedelta(seconds=seconds),
        "subject": f"commit {name}",
    }
    return CommitEntry(**{**filled, **fields})


def line(count: int, *, key: Callable[[int], str] = "key-{}".format) -> list[CommitEntry]:
    """Publications one after the other, oldest first."""
    made: list[CommitEntry] = []
    for number in range(count):
        parents = (made[-1].id,) if made else ()
        made.append(entry(number, *parents, seconds=number, stamp=stamp(key(number))))
    return made


def since(entries: Iterable[CommitEntry], order: Random | None = None) -> CommitsSince:
    """What a store lists if these are all its commits, and each one is the head of a branch.

    Args:
        order: shuffles the commits, which a store may list in any order.
    """
    by_id = {each.id: each for each in entries}

    def commits_since(known: Callable[[str], bool]) -> Iterator[CommitEntry]:
        new = [each for each in by_id.values() if not known(each.id)]
        if order is not None:
            order.shuffle(new)
        yield from new

    return commits_since


def on_top(entries: list[CommitEntry], name: object, **fields) -> CommitEntry:
    """One more commit on the last one."""
    added = replace(entry(name, entries[-1].id, seconds=len(entries)), **fields)
    entries.append(added)
    return added
