"""Merging the changes of foreign commits and of this attempt into one tree, as plain data.

The rule is the protocol's (`merge` in its executable model). E is the input's tree with the foreign changes on top, so
that changes of abandoned commits are undone by omission. A path that the attempt changed conflicts if E differs there
from both the input and the attempt's entry. In addition, no path may be both a file and a directory. In `serializable`
isolation, E must equal the input wherever the task could see it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from perago.values.history import Conflict

T = TypeVar("T")


@dataclass(frozen=True)
class MergeResult(Generic[T]):
    """The changes to apply to the input's tree.

    Attributes:
        overlay: path -> entry, None if deleted: the foreign changes, then the attempt's own. Not valid if there are
            conflicts.
        conflicts: paths that cannot be merged, sorted, each with the paths that cannot be beside it: itself, or also
            files above or below it. They are the attempt's own, unless foreign commits clash with what undoing
            abandoned ones restores.
    """

    overlay: dict[str, T | None]
    conflicts: dict[str, set[str]]


def nothing_below(_path: str) -> Iterable[str]:
    """`base_below` for an input without directories."""
    return ()


def merge_paths(
    foreign: Sequence[Mapping[str, T | None]],
    own: Mapping[str, T | None],
    base: Callable[[str], T | None],
    base_below: Callable[[str], Iterable[str]] = nothing_below,
) -> MergeResult[T]:
    """Merge an attempt's changes with those of foreign commits.

    Args:
        foreign: the changes of each foreign commit (`plans.foreign_changes`), oldest first: path -> new entry, None if
            deleted.
        own: the attempt's changes to the input's tree.
        base: the input's file entry at a path; None if there is none, or a directory.
        base_below: paths of the input's files below a path. Called only for files that foreign commits wrote where the
            input has none. Without it, a foreign file that replaces a directory which only an abandoned commit removed
            is not detected.
    """
    changed: dict[str, T | None] = {}
    for changes in foreign:
        changed.update(changes)
    conflicts = {
        path: {path}
        for path, entry in own.items()
        if path in changed and changed[path] != base(path) and changed[path] != entry
    }
    overlay = {**changed, **own}
    for above, below in _clashes(overlay, own, base, base_below):
        of_own = [path for path in (above, below) if own.get(path) is not None]
        for path in of_own or [path for path in (above, below) if changed.get(path) is not None]:
            conflicts.setdefault(path, set()).update((above, below))
    return MergeResult(overlay, dict(sorted(conflicts.items())))


def changed_reads(
    foreign: Mapping[str, Mapping[str, T | None]], base: Callable[[str], T | None], sees: Callable[[str], bool]
) -> Conflict | None:
    """What a task could see and the foreign commits have changed: E differs there from the input.

    Args:
        foreign: by commit id; otherwise as for `merge_paths`.
        base: as for `merge_paths`.
        sees: whether the task could see a path; see `patterns.visible_to`.
    """
    effective: dict[str, T | None] = {}
    for changes in foreign.values():
        effective.update(changes)
    return conflict_at([path for path, entry in effective.items() if sees(path) and entry != base(path)], foreign)


def conflict_at(
    paths: Collection[str] | Mapping[str, Collection[str]], foreign: Mapping[str, Collection[str]]
) -> Conflict | None:
    """The conflict at some paths; None if there are none.

    Args:
        paths: may map each to the paths whose changes caused the conflict, as `MergeResult.conflicts` does. Default:
            itself.
        foreign: the paths that each foreign commit changed.
    """
    causes = paths if isinstance(paths, Mapping) else {path: (path,) for path in paths}
    found = {
        path: tuple(name for name, changed in foreign.items() if any(cause in changed for cause in causes[path]))
        for path in sorted(paths)
    }
    return Conflict(found) if found else None


def _clashes(
    overlay: Mapping[str, T | None],
    own: Mapping[str, T | None],
    base: Callable[[str], T | None],
    base_below: Callable[[str], Iterable[str]],
) -> Iterator[tuple[str, str]]:
    """Pairs of files where one is the other's parent. The attempt's own changes alone produce none."""
    file_at: dict[str, bool] = {}

    def is_file(path: str) -> bool:
        if path not in file_at:
            entry = overlay[path] if path in overlay else base(path)
            file_at[path] = entry is not None
        return file_at[path]

    for path, entry in overlay.items():
        if entry is None:
            continue
        for directory in _above(path):
            if is_file(directory):
                yield directory, path
        if path not in own and base(path) is None:
            for below in base_below(path):
                if below not in overlay:
                    yield path, below


def _above(path: str) -> Iterator[str]:
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
