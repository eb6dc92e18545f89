"""Trees as paths: list the files below a directory, compare two trees, change paths of a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pygit2.enums import ObjectType

from perago.errors import ObjectNameError, StoreError, WorkspaceContentError, required
from perago.stores.git.objects import DIRECTORY, Leaf, ObjectReader, ObjectWriter, TreeEntry, serialize_tree
from perago.values.names import show_name

Overlay = Mapping[str, Leaf | None]
"""Path -> its new entry; None to delete it."""


class Change(NamedTuple):
    """A path's entry before and after; None if there is none or a directory."""

    before: Leaf | None
    after: Leaf | None


def find(reader: ObjectReader, tree_id: str, path: str) -> TreeEntry | None:
    """The entry at a path; "" is the tree itself."""
    found: TreeEntry | None = TreeEntry("", DIRECTORY, tree_id)
    for segment in path.split("/") if path else ():
        if found is None or not found.is_directory:
            return None
        found = reader.entry(found.id, segment)
    return found


def walk(
    reader: ObjectReader, tree_id: str, enters: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, Leaf]]:
    """Every path below a tree that is not a directory. Skips directories that `enters` rejects.

    Raises:
        ObjectNameError: an entry's name contains a slash, so its path could be another entry's.
    """
    waiting = [("", tree_id)]
    while waiting:
        root, current = waiting.pop()
        for entry in reader.tree(current):
            path = root + entry.name
            if "/" in entry.name:
                raise ObjectNameError(
                    f"object name {show_name(path)} has the segment {show_name(entry.name)}, which must not contain "
                    f"'/'; repair the tree with git"
                )
            if not entry.is_directory:
                yield path, Leaf(entry.mode, entry.id)
            elif enters(path):
                waiting.append((path + "/", entry.id))


def compare(reader: ObjectReader, old: str | None, new: str | None, root: str = "") -> dict[str, Change]:
    """The paths in which two trees differ. None is an empty tree. `root`: only those below "directory/"."""
    changed: dict[str, Change] = {}
    top = root.rstrip("/")
    waiting = [(root, _subtree(reader, old, top), _subtree(reader, new, top))]
    while waiting:
        root, before_id, after_id = waiting.pop()
        for before, after in reader.differing(before_id, after_id):
            name = required(before or after, "an entry that differs is in one of the trees").name
            (was, was_tree), (now, now_tree) = _split(before), _split(after)
            if was != now:
                changed[root + name] = Change(was, now)
            if was_tree != now_tree:
                waiting.append((f"{root}{name}/", was_tree, now_tree))
    return changed


def _subtree(reader: ObjectReader, tree_id: str | None, path: str) -> str | None:
    """The tree of the directory at a path."""
    return None if tree_id is None else _split(find(reader, tree_id, path))[1]


def _split(entry: TreeEntry | None) -> tuple[Leaf | None, str | None]:
    """An entry as a leaf, or as a directory's tree, or neither."""
    if entry is None:
        return None, None
    return (None, entry.id) if entry.is_directory else (Leaf(entry.mode, entry.id), None)


class Snapshot:
    """One tree, for many lookups. Keeps directories that were read."""

    def __init__(self, reader: ObjectReader, tree_id: str) -> None:
        self._reader = reader
        self._root = TreeEntry("", DIRECTORY, tree_id)
        self._read: dict[str, dict[str, TreeEntry]] = {}

    def leaf(self, path: str) -> Leaf | None:
        """The entry at a path, unless it is a directory."""
        found = self._entry(path)
        return None if found is None or found.is_directory else Leaf(found.mode, found.id)

    def below(self, path: str) -> Iterator[str]:
        """Paths of everything below a directory; none if it is not a directory."""
        found = self._entry(path)
        if found is not None and found.is_directory:
            yield from (f"{path}/{inner}" for inner, _ in walk(self._reader, found.id))

    def _entry(self, path: str) -> TreeEntry | None:
        found: TreeEntry | None = self._root
        for segment in path.split("/"):
            if found is None or not found.is_directory:
                return None
            found = self._entries(found.id).get(segment)
        return found

    def _entries(self, tree_id: str) -> dict[str, TreeEntry]:
        if tree_id not in self._read:
            self._read[tree_id] = {entry.name: entry for entry in self._reader.tree(tree_id)}
        return self._read[tree_id]


@dataclass
class _Edits:
    """Changes below one directory: in itself, and in its subdirectories."""

    leaves: dict[str, Leaf | None] = field(default_factory=dict)
    directories: dict[str, _Edits] = field(default_factory=dict)


def edit(reader: ObjectReader, writer: ObjectWriter, tree_id: str | None, overlay: Overlay) -> str:
    """Apply an overlay to a tree (None: an empty one) and write the result. Writes only the changed directories.

    A directory without files is removed. A file may replace a directory, and a directory a file.

    Raises:
        WorkspaceContentError: a path would be both a file and a directory.
    """
    changed = _edit(reader, writer, tree_id, _nest(overlay), "")
    return changed if changed is not None else writer.write(ObjectType.TREE, b"")


def _nest(overlay: Overlay) -> _Edits:
    top = _Edits()
    for path, leaf in overlay.items():
        *directories, name = path.split("/")
        at = top
        for directory in directories:
            at = at.directories.setdefault(directory, _Edits())
        at.leaves[name] = leaf
    return top


def _edit(reader: ObjectReader, writer: ObjectWriter, tree_id: str | None, edits: _Edits, where: str) -> str | None:
    """Returns the id of the changed tree, or None if it is empty."""
    listed = reader.tree(tree_id) if tree_id else []
    entries = {entry.name: entry for entry in listed}
    if len(entries) != len(listed):
        raise StoreError(f"directory {where or '/'!r} of the tree contains a duplicate name; repair it with git first")
    for name in edits.leaves.keys() | edits.directories.keys():
        leaf, inside = _split(entries.pop(name, None))
        if name in edits.directories:
            inside = _edit(reader, writer, inside, edits.directories[name], f"{where}{name}/")
        leaf = edits.leaves.get(name, leaf)
        if leaf is not None and inside is not None:
            raise WorkspaceContentError(
                f"{where}{name} would be both a file and a directory, because the repository has the other one "
                f"outside the task's prefix or patterns. Use another name, or change the prefix and the patterns"
            )
        if leaf is not None:
            entries[name] = TreeEntry(name, leaf.mode, leaf.id)
        elif inside is not None:
            entries[name] = TreeEntry(name, DIRECTORY, inside)
    return writer.write(ObjectType.TREE, serialize_tree(entries.values())) if entries else None
