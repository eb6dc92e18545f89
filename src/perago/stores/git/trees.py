"""Trees as paths: list the files below a directory, compare two trees, change some paths of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pygit2.enums import ObjectType

from perago.errors import ObjectNameError, StoreError, WorkspaceContentError
from perago.stores.git.objects import DIRECTORY, Leaf, ObjectReader, ObjectWriter, TreeEntry, serialize_tree
from perago.values.names import show_name

Overlay = Mapping[str, Leaf | None]
"""Path -> what is to stand there; None: nothing."""


class Change(NamedTuple):
    """What stood at a path and what stands there now; None: nothing, or a directory."""

    before: Leaf | None
    after: Leaf | None


def find(reader: ObjectReader, tree_id: str, path: str) -> TreeEntry | None:
    """What stands at a path; "" is the tree itself."""
    found: TreeEntry | None = TreeEntry("", DIRECTORY, tree_id)
    for segment in path.split("/") if path else ():
        if found is None or not found.is_directory:
            return None
        found = next((entry for entry in reader.tree(found.id) if entry.name == segment), None)
    return found


def walk(
    reader: ObjectReader, tree_id: str, enters: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, Leaf]]:
    """Every path below a tree that is no directory. Directories that are not entered are passed over.

    Raises:
        ObjectNameError: the name of an entry holds a slash: its path would be another entry's.
    """
    waiting = [("", tree_id)]
    while waiting:
        root, current = waiting.pop()
        for entry in reader.tree(current):
            path = root + entry.name
            if "/" in entry.name:
                raise ObjectNameError(
                    f"object name {show_name(path)} has the segment {show_name(entry.name)}, and no segment may hold "
                    f"'/'; mend the tree with git"
                )
            if not entry.is_directory:
                yield path, Leaf(entry.mode, entry.id)
            elif enters(path):
                waiting.append((path + "/", entry.id))


def compare(reader: ObjectReader, old: str | None, new: str | None) -> dict[str, Change]:
    """The paths in which two trees differ. None: no tree."""
    changed: dict[str, Change] = {}
    waiting = [("", old, new)]
    while waiting:
        root, before_id, after_id = waiting.pop()
        before = {entry.name: entry for entry in reader.tree(before_id)} if before_id else {}
        after = {entry.name: entry for entry in reader.tree(after_id)} if after_id else {}
        for name in before.keys() | after.keys():
            (was, was_tree), (now, now_tree) = _split(before.get(name)), _split(after.get(name))
            if was != now:
                changed[root + name] = Change(was, now)
            if was_tree != now_tree:
                waiting.append((f"{root}{name}/", was_tree, now_tree))
    return changed


def _split(entry: TreeEntry | None) -> tuple[Leaf | None, str | None]:
    """What an entry is: a leaf, or a directory's tree, or nothing."""
    if entry is None:
        return None, None
    return (None, entry.id) if entry.is_directory else (Leaf(entry.mode, entry.id), None)


class Snapshot:
    """One tree, asked for many paths; directories that were read are kept."""

    def __init__(self, reader: ObjectReader, tree_id: str) -> None:
        self._reader = reader
        self._root = TreeEntry("", DIRECTORY, tree_id)
        self._read: dict[str, dict[str, TreeEntry]] = {}

    def leaf(self, path: str) -> Leaf | None:
        """What stands at a path, if it is no directory."""
        found = self._entry(path)
        return None if found is None or found.is_directory else Leaf(found.mode, found.id)

    def below(self, path: str) -> Iterator[str]:
        """Paths of everything below a directory; none if it is no directory."""
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
    """What is to change below one directory: in itself, and in the directories below it."""

    leaves: dict[str, Leaf | None] = field(default_factory=dict)
    directories: dict[str, _Edits] = field(default_factory=dict)


def edit(reader: ObjectReader, writer: ObjectWriter, tree_id: str | None, overlay: Overlay) -> str:
    """Write the tree that an overlay makes of another (None: of nothing); only the directories on the way are written.

    A directory that is left without files goes. A path may become a directory, or a directory a path.

    Raises:
        WorkspaceContentError: a file would stand where there is also a directory.
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
    """Returns the id of the changed tree, or None where nothing is left in it."""
    listed = reader.tree(tree_id) if tree_id else []
    entries = {entry.name: entry for entry in listed}
    if len(entries) != len(listed):
        raise StoreError(f"directory {where or '/'!r} of the tree holds a name twice; mend it with git first")
    for name in edits.leaves.keys() | edits.directories.keys():
        leaf, inside = _split(entries.pop(name, None))
        if name in edits.directories:
            inside = _edit(reader, writer, inside, edits.directories[name], f"{where}{name}/")
        leaf = edits.leaves.get(name, leaf)
        if leaf is not None and inside is not None:
            raise WorkspaceContentError(
                f"{where}{name} would be a file and a directory at once: the repository has the other one there, "
                f"outside of what was changed. Use another name, or change the prefix and the patterns"
            )
        if leaf is not None:
            entries[name] = TreeEntry(name, leaf.mode, leaf.id)
        elif inside is not None:
            entries[name] = TreeEntry(name, DIRECTORY, inside)
    return writer.write(ObjectType.TREE, serialize_tree(entries.values())) if entries else None
