"""Large files and their references: missing, damaged and unreferenced ones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from perago.stores.git.examine.reachable import Place, Reachable
from perago.stores.git.lfs import LfsStore
from perago.stores.git.repository import BareRepository, git_command, translated
from perago.values.findings import Finding, Kind

_SHA256 = re.compile(r"[0-9a-f]{64}")


def large_file_findings(
    repository: BareRepository, reachable: Reachable, before: float, mark_again: Callable[[], Reachable], *, deep: bool
) -> Iterator[Finding]:
    """Compare references to large files with the files on disk.

    Args:
        before: seconds since the epoch; younger files may belong to a running attempt.
        deep: read every referenced file.
    """
    store = LfsStore(repository)
    for place in reachable.large.values():
        yield from _needed(store, place, deep=deep)
    if reachable.is_whole:  # otherwise, something unreadable may reference them
        again = _Again(mark_again)
        for file in _unreferenced(store, reachable.named, before):
            yield _unreferenced_finding(store, file, partial(_remove, store, file.name, before, again))


class _Again:
    """A second marking, made once before the first removal: a person may have moved a branch since the first."""

    def __init__(self, mark: Callable[[], Reachable]) -> None:
        self._mark = mark
        self._marked: Reachable | None = None

    def names(self, sha256: str) -> bool:
        if self._marked is None:
            self._marked = self._mark()
        return sha256 in self._marked.named or not self._marked.is_whole


def _needed(store: LfsStore, place: Place, *, deep: bool) -> Iterator[Finding]:
    pointer, file = place.pointer, store.path_of(place.pointer.sha256)
    what = f"{place.path!a} of commit {place.commit[:12]}"
    repository = store.repository.path
    try:
        size = file.lstat().st_size
    except OSError:
        yield Finding(
            kind=Kind.MISSING_LARGE_FILE,
            what=what,
            why=f"its content, {pointer.size} bytes, is not at {file}. Fetch it with "
            f"{git_command(repository, 'lfs', 'fetch', '--all')}, or copy that file from a repository that has it",
            size=pointer.size,
        )
        return
    fault = f"has {size} bytes instead of {pointer.size}" if size != pointer.size else None
    if fault is None and deep and _digest(store, pointer.sha256) != pointer.sha256:
        fault = "does not match the sha256 in its name"
    if fault is not None:
        yield Finding(
            kind=Kind.DAMAGED_LARGE_FILE,
            what=what,
            why=f"its content, {file}, {fault}. Replace it with an intact copy from another repository",
            size=size,
        )


def _digest(store: LfsStore, sha256: str) -> str:
    with translated(f"reading {store.path_of(sha256)}", store.root):
        return store.digest_of(sha256)


def _unreferenced(store: LfsStore, named: set[str], before: float) -> Iterator[Path]:
    for file in (store.root / "objects").glob("??/??/*"):
        if _SHA256.fullmatch(file.name) and file.name not in named and _changed(file) < before:
            yield file


def _changed(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except OSError:
        return time.time()  # just removed


def _unreferenced_finding(store: LfsStore, file: Path, mend: partial[bool]) -> Finding:
    try:
        state = file.lstat()
        age, size = time.time() - state.st_mtime, state.st_size
    except OSError:
        age, size = None, None
    return Finding(
        kind=Kind.UNREFERENCED_LARGE_FILE,
        what=str(file.relative_to(store.repository.path)),
        why="no branch, tag, staged commit or reflog refers to it",
        age_seconds=age,
        size=size,
        mend=mend,
    )


def _remove(store: LfsStore, sha256: str, before: float, again: _Again) -> bool:
    if again.names(sha256):
        return False
    return store.remove_unreferenced(sha256, before)
