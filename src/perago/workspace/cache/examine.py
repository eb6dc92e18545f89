"""Findings in the host's object cache: leftovers and damaged entries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from perago.ports import Clock
from perago.values.findings import Finding, Kind, remove_file, size_below
from perago.workspace.cache.entries import TRAILER_BYTES, is_whole
from perago.workspace.cache.objects import ENTRIES, FORMAT, PARTIAL
from perago.workspace.cache.partial import left_behind, remove_left_behind
from perago.workspace.cache.room import walk


def examine(directory: Path, clock: Clock, *, deep: bool = False) -> Iterator[Finding]:
    """Find unfinished files of killed processes. The next process that fills the cache would also remove them.

    Args:
        directory: of the cache; may be missing.
        deep: read every entry to find damaged ones. Using such an entry would also reveal it.
    """
    home = directory / FORMAT
    for path in left_behind(home / PARTIAL, clock.now().timestamp()):
        yield Finding(
            kind=Kind.TEMPORARY_FILE,
            what=str(path),
            why="the process that was writing to the object cache is dead",
            age_seconds=_age(path, clock),
            size=size_below(path),
            mend=partial(_remove_partial, path, clock),
        )
    if deep:
        yield from _damaged(home / ENTRIES)


def _damaged(entries: Path) -> Iterator[Finding]:
    for _, size, path in walk(entries):
        if not _is_whole(path):
            yield Finding(
                kind=Kind.DAMAGED_CACHE_ENTRY,
                what=path,
                why="its content differs from what was stored; the next use fetches the object again",
                size=size,
                mend=partial(remove_file, Path(path)),
            )


def _is_whole(path: str) -> bool:
    try:
        entry = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return not os.path.lexists(path)
    try:
        shard, name = path.split("/")[-2:]
        return is_whole(entry, shard + name, os.fstat(entry).st_size - TRAILER_BYTES)
    finally:
        os.close(entry)


def _remove_partial(path: Path, clock: Clock) -> bool:
    return remove_left_behind(path, clock.now().timestamp()) or not path.exists()


def _age(path: Path, clock: Clock) -> float | None:
    try:
        return clock.now().timestamp() - path.lstat().st_mtime
    except OSError:
        return None
