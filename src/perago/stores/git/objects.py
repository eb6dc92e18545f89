"""Git objects as bytes: reading and writing trees, and the port for new objects.

Trees are parsed here and not by libgit2, because a repository can contain names that are not text or that no tool would
write. All of them must be seen before they are judged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import pygit2
from pygit2.enums import ObjectType

from perago.errors import StoreError
from perago.stores.git.repository import GIT_FAULTS, BareRepository, git_command, storage_error

FILE = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000
DIRECTORY = 0o040000

_KIND_BITS = 0o170000
_ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0([\s\S]{20})")
"""Mode, name and id."""


class TreeEntry(NamedTuple):
    """One entry of a tree. `name` has undecodable bytes as surrogates; `id` is hex."""

    name: str
    mode: int
    id: str

    @property
    def is_directory(self) -> bool:
        return self.mode & _KIND_BITS == DIRECTORY


class Leaf(NamedTuple):
    """A tree entry that is not a directory: a file, a link or a submodule."""

    mode: int
    id: str

    @property
    def is_file(self) -> bool:
        return self.mode & _KIND_BITS == FILE & _KIND_BITS

    @property
    def is_executable(self) -> bool:
        return bool(self.mode & 0o100)


class ObjectWriter(Protocol):
    """Takes new objects. They are on disk, synced, when the writer's context has ended."""

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object. Returns its id."""
        ...


class IdsOnly:
    """An `ObjectWriter` that only computes ids and writes nothing."""

    def write(self, kind: ObjectType, data: bytes) -> str:
        return object_id_of(kind, data)[0]


class ObjectReader:
    """Reads objects and checks their hashes."""

    def __init__(self, repository: BareRepository) -> None:
        self._path = repository.path
        self._odb = repository.handle.odb

    def blob(self, blob_id: str) -> bytes:
        return self._read(blob_id, ObjectType.BLOB)

    def blob_size(self, blob_id: str) -> int:
        """Bytes of a blob, which is not read."""
        try:
            return self._odb.read_header(pygit2.Oid(hex=blob_id))[1]
        except GIT_FAULTS as exc:
            raise storage_error(exc, f"looking for blob {blob_id}", self._path) from exc

    def tree(self, tree_id: str) -> list[TreeEntry]:
        data = self._read(tree_id, ObjectType.TREE)
        try:
            return parse_tree(data)
        except ValueError as exc:
            raise storage_error(exc, f"reading tree {tree_id}", self._path) from exc

    def entry(self, tree_id: str, name: str) -> TreeEntry | None:
        """The entry of a tree with a name. Of a tree of many entries, only this one is parsed."""
        data = self._read(tree_id, ObjectType.TREE)
        try:
            return next((_parsed(*raw) for raw in _raw_entries(data) if _decoded(raw[1]) == name), None)
        except ValueError as exc:
            raise storage_error(exc, f"reading tree {tree_id}", self._path) from exc

    def differing(self, old: str | None, new: str | None) -> list[tuple[TreeEntry | None, TreeEntry | None]]:
        """The entries in which two trees differ, before and after. None is an empty tree."""
        before, after = (b"" if tree_id is None else self._read(tree_id, ObjectType.TREE) for tree_id in (old, new))
        try:
            return differing_entries(before, after)
        except ValueError as exc:
            raise storage_error(exc, f"reading tree {old} or {new}", self._path) from exc

    def _read(self, object_id: str, kind: ObjectType) -> bytes:
        try:
            found, data = self._odb.read(object_id)
        except GIT_FAULTS as exc:
            raise storage_error(exc, f"reading {kind.name.lower()} {object_id}", self._path) from exc
        if found != kind:
            raise StoreError(
                f"object {object_id} in {self._path} is not a {kind.name.lower()}, although the tree above it says so. "
                f"Run {git_command(self._path, 'fsck')}"
            )
        return data


def object_id_of(kind: ObjectType, data: bytes) -> tuple[str, bytes]:
    """The id of an object in git, in hex, and the header before its bytes."""
    header = f"{kind.name.lower()} {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest(), header


def parse_tree(data: bytes) -> list[TreeEntry]:
    """Parse the bytes of a tree.

    Raises:
        ValueError: they are not a tree.
    """
    return [_parsed(*raw) for raw in _raw_entries(data)]


def differing_entries(old: bytes, new: bytes) -> list[tuple[TreeEntry | None, TreeEntry | None]]:
    """The entries in which two trees differ, before and after; None where there is none. Of a tree of many entries
    few differ, and only these are parsed.

    Raises:
        ValueError: the bytes are not those of trees.
    """
    before, after = (
        {name: (mode, name, object_id) for mode, name, object_id in _raw_entries(data)} for data in (old, new)
    )
    names = dict.fromkeys(name for name, _ in before.items() ^ after.items())
    return [
        (_parsed(*before[name]) if name in before else None, _parsed(*after[name]) if name in after else None)
        for name in names
    ]


def _raw_entries(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Mode, name and id of each entry, as they are in a tree."""
    if _ENTRY.sub(b"", data):
        raise ValueError("the tree ends within an entry, or has something between two")
    return _ENTRY.findall(data)


def _parsed(mode: bytes, name: bytes, object_id: bytes) -> TreeEntry:
    return TreeEntry(_decoded(name), int(mode, 8), object_id.hex())


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def serialize_tree(entries: Iterable[TreeEntry]) -> bytes:
    """The bytes of a tree, in git's order: a directory sorts as if its name ended with a slash."""
    named = [(_encoded(entry.name), entry) for entry in entries]
    named.sort(key=lambda pair: pair[0] + b"/" if pair[1].is_directory else pair[0])
    return b"".join(b"%o %b\0%b" % (entry.mode, name, bytes.fromhex(entry.id)) for name, entry in named)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
