"""Writing new objects as single files, those of one commit synced together.

libgit2 is not used, because it reports "no error" on a full disk and syncs each object separately. A journaling file
system writes all recent files with one journal commit, so the first sync does most of the work.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pygit2.enums import ObjectType

from perago.files.storage import sync_directory
from perago.stores.git.files import write_all
from perago.stores.git.objects import object_id_of
from perago.stores.git.repository import BareRepository, translated

_LEVEL = 1  # of zlib: `git gc` compresses again, better
_MODE = 0o444
_TRIES = 20
_BATCH = 64
"""Objects synced together. Each stays open until then, and a process may have only 256 open files (macOS)."""


class _Unnamed(NamedTuple):
    """An object that is written but not yet named. Kept open, so that a janitor sees that its owner lives."""

    path: Path
    descriptor: int


class LooseWriter:
    """Writes each object to its own file. The caller must call `finish` or `discard`.

    Args:
        known: ids of objects that are already on a branch and need not be written.
    """

    def __init__(self, repository: BareRepository, known: Set[str] = frozenset()) -> None:
        self._repository_path = repository.path
        self._objects = repository.path / "objects"
        self._known = known
        self._unnamed: dict[Path, _Unnamed] = {}
        self._directories: set[Path] = set()

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object. It is in the repository, synced, when `finish` returns."""
        object_id, header = object_id_of(kind, data)
        path = self._objects / object_id[:2] / object_id[2:]
        if object_id in self._known or path in self._unnamed:
            return object_id
        with translated(f"writing a {kind.name.lower()}", self._repository_path):
            self._directories.add(path.parent)  # even if the object exists: its writer may not have synced it yet
            if not _freshened(path):
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
            sync_directory(self._objects)  # it has the names of new directories
            for directory in self._directories:
                with suppress(FileNotFoundError):  # already moved to a pack, and the empty directory removed
                    sync_directory(directory)

    def discard(self) -> None:
        """Remove what is written but not named: nothing after `finish`."""
        for unnamed in self._unnamed.values():
            os.close(unnamed.descriptor)
            unnamed.path.unlink(missing_ok=True)
        self._unnamed.clear()

    def _store(self, path: Path, packed: bytes) -> None:
        # If this process is killed, `git prune` removes files with this name.
        descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=self._objects)
        self._unnamed[path] = _Unnamed(Path(name), descriptor)
        write_all(descriptor, packed)
        os.fchmod(descriptor, _MODE)

    def _name_all(self) -> None:
        """Name objects in the order of writing, so that the parts of a tree or commit exist before it."""
        for unnamed in self._unnamed.values():
            os.fsync(unnamed.descriptor)
        for path, unnamed in list(self._unnamed.items()):
            _name(unnamed.path, path)
            del self._unnamed[path]
            os.close(unnamed.descriptor)


def _name(temporary: Path, path: Path) -> None:
    """Rename a file into a directory that git's housekeeping may remove whenever it is empty."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            path.parent.mkdir(exist_ok=True)
            temporary.rename(path)
            return
    raise FileNotFoundError(f"{path.parent} was removed each of {_TRIES} times")


def _freshened(path: Path) -> bool:
    """Whether the object exists. If so, its time is updated, so that `git gc` keeps it."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's file, in a repository that this user may write to
    return True
