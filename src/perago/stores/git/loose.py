"""Writing new objects as single files, those of one commit synced together.

libgit2 is not used, because it reports "no error" on a full disk and syncs each object separately. A journaling file
system writes all recent files with one journal commit, so the first sync does most of the work.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Set
from contextlib import suppress
from typing import NamedTuple

from pygit2.enums import ObjectType

from perago.stores.git.files import RepositoryFiles, write_all
from perago.stores.git.objects import object_id_of
from perago.stores.git.repository import BareRepository, translated

_OBJECTS = "objects"
_LEVEL = 1  # of zlib: `git gc` compresses again, better
_MODE = 0o444
_TRIES = 20
_BATCH = 64
"""Objects synced together. Each stays open until then, and a process may have only 256 open files (macOS)."""


class _Unnamed(NamedTuple):
    """An object that is written but not yet named. Kept open, so that a janitor sees that its owner lives."""

    path: str
    descriptor: int


class LooseWriter:
    """Writes each object to its own file. The caller must call `discard` at the end.

    Args:
        known: ids of objects that are already on a branch and need not be written.
    """

    def __init__(self, repository: BareRepository, known: Set[str] = frozenset()) -> None:
        self._repository_path = repository.path
        self._known = known
        self._unnamed: dict[str, _Unnamed] = {}
        self._directories: set[str] = set()
        with translated("writing objects", repository.path):
            self._files = repository.files()

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object. It is in the repository, synced, when `finish` returns."""
        object_id, header = object_id_of(kind, data)
        path = _path_of(object_id)
        directory = _parent(path)
        if object_id in self._known or path in self._unnamed:
            return object_id
        with translated(f"writing a {kind.name.lower()}", self._repository_path):
            self._directories.add(directory)  # even if the object exists: its writer may not have synced it yet
            if not _freshened(self._files, path):
                if len(self._unnamed) == _BATCH:
                    self._name_all()
                self._store(path, zlib.compress(header + data, _LEVEL))
        return object_id

    def finish(self) -> None:
        """Sync the written objects, name them, and sync the names."""
        with translated("writing objects", self._repository_path):
            self._name_all()
            if not self._directories:
                return
            self._files.sync(_OBJECTS)  # it has the names of new directories
            for directory in self._directories:
                with suppress(FileNotFoundError):  # already moved to a pack, and the empty directory removed
                    self._files.sync(directory)

    def discard(self) -> None:
        """Remove what is written but not named: nothing after `finish`. Closes the writer."""
        with self._files:
            for unnamed in self._unnamed.values():
                os.close(unnamed.descriptor)
                with suppress(FileNotFoundError):
                    self._files.unlink(unnamed.path)
            self._unnamed.clear()

    def _store(self, path: str, packed: bytes) -> None:
        # If this process is killed, `git prune` removes files with this name.
        name, descriptor = self._files.open_temporary(_OBJECTS, "tmp_obj_")
        self._unnamed[path] = _Unnamed(name, descriptor)
        write_all(descriptor, packed)
        os.fchmod(descriptor, self._files.shared(_MODE))

    def _name_all(self) -> None:
        """Name objects in the order of writing, so that the parts of a tree or commit exist before it."""
        for unnamed in self._unnamed.values():
            os.fsync(unnamed.descriptor)
        for path, unnamed in list(self._unnamed.items()):
            _name(self._files, unnamed.path, path)
            del self._unnamed[path]
            os.close(unnamed.descriptor)


def _name(files: RepositoryFiles, temporary: str, path: str) -> None:
    """Rename a file into a directory that git's housekeeping may remove whenever it is empty."""
    directory = _parent(path)
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            files.make_directory(directory)
            files.rename(temporary, path)
            return
    raise FileNotFoundError(f"{directory} was removed each of {_TRIES} times")


def freshen(repository: BareRepository, object_ids: Iterable[str]) -> None:
    """Update the times of objects that are used again, as `git gc` expects it. Those in packs are left alone."""
    with translated("keeping objects", repository.path), repository.files() as files:
        for object_id in object_ids:
            _freshened(files, _path_of(object_id))


def _path_of(object_id: str) -> str:
    return f"{_OBJECTS}/{object_id[:2]}/{object_id[2:]}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _freshened(files: RepositoryFiles, path: str) -> bool:
    """Whether the object exists. If so, its time is updated, so that `git gc` keeps it."""
    try:
        files.touch(path)
    except (FileNotFoundError, PermissionError):
        return False  # a new copy replaces another user's
    return True
