"""New objects as files of their own, each synced.

Not by libgit2: of a disk that is full it says "no error".
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from pygit2.enums import ObjectType

from perago.stores.git.files import make_directories, sync_directory, write_all
from perago.stores.git.objects import object_id_of
from perago.stores.git.repository import Repository, translated

_LEVEL = 1  # of zlib: `git gc` compresses again, and better
_MODE = 0o444
_TRIES = 20


class LooseWriter:
    """Writes each object to a file of its own.

    Args:
        known: ids of objects that hang on a branch already and need not be written again.
    """

    def __init__(self, repository: Repository, known: Set[str] = frozenset()) -> None:
        self._repository_path = repository.path
        self._objects = repository.path / "objects"
        self._known = known

    def write(self, kind: ObjectType, data: bytes) -> str:
        """Add an object; it is synced, and so is its name, on return."""
        object_id, header = object_id_of(kind, data)
        path = self._objects / object_id[:2] / object_id[2:]
        with translated(f"writing a {kind.name.lower()}", self._repository_path):
            if object_id not in self._known and not _freshened(path):
                self._store(path, zlib.compress(header + data, _LEVEL))
        return object_id

    def _store(self, path: Path, packed: bytes) -> None:
        # `git prune` removes what is called so, should this process be killed.
        descriptor, name = tempfile.mkstemp(prefix="tmp_obj_", dir=self._objects)
        temporary = Path(name)
        try:
            try:
                write_all(descriptor, packed)
                os.fchmod(descriptor, _MODE)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _name(temporary: Path, path: Path) -> None:
    """Rename a file into a directory that git's housekeeping removes whenever it is empty for a moment."""
    for _ in range(_TRIES):
        try:
            make_directories(path.parent)
            temporary.rename(path)
        except FileNotFoundError:
            continue
        with suppress(FileNotFoundError):  # moved into a pack already, and the directory is empty again
            sync_directory(path.parent)
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
