"""New objects as files of their own, those of one commit synced together.

Not by libgit2: of a disk that is full it says "no error", and it syncs each object alone. A journaling file system
writes all files of one moment with one commit of its journal, so that the first sync does most of the work of all.
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

_LEVEL = 1  # of zlib: `git gc` compresses again, and better
_MODE = 0o444
_TRIES = 20
_BATCH = 64
"""Objects that are synced together: each is open until then, and a process may have 256 files open (macOS)."""


class _Unnamed(NamedTuple):
    """An object that is written and has no name yet. Open, so that a janitor sees that its owner lives."""

    path: Path
    descriptor: int


class LooseWriter:
    """Writes each object to a file of its own. Whoever makes it finishes it, or discards what was written.

    Args:
        known: ids of objects that hang on a branch already and need not be written again.
    """

    def __init__(self, repository: BareRepository, known: Set[str] = frozenset()) -> None:
        self._repository_path = repository.path
        self._objects = repository.path / "objects"
        self._known = known
        self._unnamed: dict[Path, _Unnamed] = {}
        self._directories: set[Path] = set()

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object; it is in the repository, synced, when `finish` returns."""
        object_id, header = object_id_of(kind, data)
        path = self._objects / object_id[:2] / object_id[2:]
        if object_id in self._known or path in self._unnamed:
            return object_id
        with translated(f"writing a {kind.name.lower()}", self._repository_path):
            self._directories.add(path.parent)  # also of one that is there: its writer may not have come to syncing it
            if not _freshened(path):
                if len(self._unnamed) == _BATCH:
                    self._name_all()
                self._store(path, zlib.compress(header + data, _LEVEL))
        return object_id

    def finish(self) -> None:
        """Sync all that was written, give it its names, and sync these."""
        with translated("writing objects", self._repository_path):
            self._name_all()
            if not self._directories:
                return
            sync_directory(self._objects)  # new directories have their names here
            for directory in self._directories:
                with suppress(FileNotFoundError):  # moved into a pack already, and the directory is empty again
                    sync_directory(directory)

    def discard(self) -> None:
        """Remove what was written and has no name; nothing after `finish`."""
        for unnamed in self._unnamed.values():
            os.close(unnamed.descriptor)
            unnamed.path.unlink(missing_ok=True)
        self._unnamed.clear()

    def _store(self, path: Path, packed: bytes) -> None:
        # `git prune` removes what is called so, should this process be killed.
        descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=self._objects)
        self._unnamed[path] = _Unnamed(Path(name), descriptor)
        write_all(descriptor, packed)
        os.fchmod(descriptor, _MODE)

    def _name_all(self) -> None:
        """In the order in which they were written, so that what a tree or a commit names is there before it."""
        for unnamed in self._unnamed.values():
            os.fsync(unnamed.descriptor)
        for path, unnamed in list(self._unnamed.items()):
            _name(unnamed.path, path)
            del self._unnamed[path]
            os.close(unnamed.descriptor)


def _name(temporary: Path, path: Path) -> None:
    """Rename a file into a directory that git's housekeeping removes whenever it is empty for a moment."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            path.parent.mkdir(exist_ok=True)
            temporary.rename(path)
            return
    raise FileNotFoundError(f"{path.parent} was removed each of {_TRIES} times")


def _freshened(path: Path) -> bool:
    """Whether the object is there; then it is made young, so that `git gc` does not take it for abandoned."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's, who may write here too
    return True
