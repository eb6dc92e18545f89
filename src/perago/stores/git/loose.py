"""New objects as files of their own, all of one commit synced together.

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

from pygit2.enums import ObjectType

from perago.stores.git.files import sync_directory, sync_file, write_all
from perago.stores.git.objects import object_id_of
from perago.stores.git.repository import Repository, translated

_LEVEL = 1  # of zlib: `git gc` compresses again, and better
_MODE = 0o444
_TRIES = 20


class LooseWriter:
    """Writes each object to a file of its own. Whoever makes it finishes it, or discards what was written.

    Args:
        known: ids of objects that hang on a branch already and need not be written again.
    """

    def __init__(self, repository: Repository, known: Set[str] = frozenset()) -> None:
        self._repository_path = repository.path
        self._objects = repository.path / "objects"
        self._known = known
        self._waiting: dict[Path, Path] = {}

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object; it is in the repository, synced, when `finish` returns."""
        object_id, header = object_id_of(kind, data)
        path = self._objects / object_id[:2] / object_id[2:]
        with translated(f"writing a {kind.name.lower()}", self._repository_path):
            if object_id not in self._known and path not in self._waiting and not _freshened(path):
                self._store(path, zlib.compress(header + data, _LEVEL))
        return object_id

    def finish(self) -> None:
        """Sync all that was written, then give it its names, in the order in which it was written, and sync these."""
        with translated("writing objects", self._repository_path):
            for temporary in self._waiting.values():
                sync_file(temporary)
            for path, temporary in self._waiting.items():
                _name(temporary, path)
            if not self._waiting:
                return
            sync_directory(self._objects)  # new directories have their names here
            for directory in dict.fromkeys(path.parent for path in self._waiting):
                with suppress(FileNotFoundError):  # moved into a pack already, and the directory is empty again
                    sync_directory(directory)
            self._waiting.clear()

    def discard(self) -> None:
        """Remove what was written and is not finished."""
        for temporary in self._waiting.values():
            temporary.unlink(missing_ok=True)
        self._waiting.clear()

    def _store(self, path: Path, packed: bytes) -> None:
        # `git prune` removes what is called so, should this process be killed.
        descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=self._objects)
        self._waiting[path] = Path(name)
        try:
            write_all(descriptor, packed)
            os.fchmod(descriptor, _MODE)
        finally:
            os.close(descriptor)


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
