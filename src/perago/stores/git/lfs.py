"""Large files in git-lfs layout: content in `lfs/objects/aa/bb/<sha256>`, a pointer in the tree.

Large files are streamed, whereas a blob is completely in memory, more than once. `git lfs` reads the result.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perago.errors import StoreError, WorkspaceError
from perago.files.lock import try_lock, unlock_and_close
from perago.files.storage import sync_directory
from perago.ports import SystemClock
from perago.stores.git.files import make_directories, write_all
from perago.stores.git.locks import acquire
from perago.stores.git.repository import git_command, storage_error, translated
from perago.workspace.reading import read_chunks, read_sized

LFS_THRESHOLD = 1 << 20
"""Bytes. Files of this size and larger are stored in git-lfs layout."""

POINTER_LIMIT = 1024
"""Bytes. A pointer is smaller (git-lfs specification)."""

_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER = re.compile(re.escape(_VERSION) + rb"oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n?")
_MODE = 0o444
_LOCK_SECONDS = 60.0
"""Waiting time for the lock on large files, which is held for some microseconds."""

_ABANDONED_SECONDS = 60
"""Age from which an unlocked temporary file has lost its owner. A younger one may be about to be locked."""


@dataclass(frozen=True)
class Pointer:
    """A large file's entry in the tree. `sha256` is that of the content, in hex; `size` is in bytes."""

    sha256: str
    size: int

    def encode(self) -> bytes:
        return _VERSION + f"oid sha256:{self.sha256}\nsize {self.size}\n".encode()


def parse_pointer(data: bytes, path: str) -> Pointer | None:
    """Parse a blob as a pointer; None if it is an ordinary file.

    Args:
        path: for messages.

    Raises:
        StoreError: it is a pointer to content that a git-lfs extension has transformed.
    """
    if len(data) >= POINTER_LIMIT or not data.startswith(_VERSION):
        return None
    match = _POINTER.fullmatch(data)
    if match is not None:
        return Pointer(match[1].decode(), int(match[2]))
    if b"\next-" in data:
        raise StoreError(
            f"the git-lfs pointer of {path} uses extensions, which Perago does not support; store the file without them"
        )
    return None


def looks_like_pointer(data: bytes) -> bool:
    """Whether any version of git-lfs, or `parse_pointer`, could read this small file as a pointer.

    Such a file is itself stored behind a pointer, because otherwise other content would come back. False positives are
    harmless.
    """
    return len(data) <= POINTER_LIMIT and data.lstrip().startswith(b"version ")


class LfsStore:
    """The large files of one repository.

    Attributes:
        root: the repository's `lfs` directory.
    """

    def __init__(self, repository_path: Path) -> None:
        self.root = repository_path / "lfs"
        self._temporary = self.root / "tmp"

    def path_of(self, sha256: str) -> Path:
        return self.root / "objects" / sha256[:2] / sha256[2:4] / sha256

    def store(self, descriptor: int, path: str, size: int, moved: Callable[[int], None]) -> Pointer:
        """Stream a file into the store and sync it, unless it is already there.

        Args:
            moved: called with the size of each chunk; if it raises, nothing is stored.

        Raises:
            WorkspaceContentError: the file does not have `size` bytes.
        """
        doing = f"storing {path}"
        with translated(doing, self.root), self._temporary_file() as (name, out):
            digest = hashlib.sha256()
            for chunk in read_sized(descriptor, path, size):
                digest.update(chunk)
                write_all(out, chunk)
                moved(len(chunk))
            pointer = Pointer(digest.hexdigest(), size)
            self._install(name, out, pointer)
        return pointer

    def store_bytes(self, data: bytes, path: str) -> Pointer:
        """As `store`, from memory."""
        pointer = Pointer(hashlib.sha256(data).hexdigest(), len(data))
        with translated(f"storing {path}", self.root), self._temporary_file() as (name, out):
            write_all(out, data)
            self._install(name, out, pointer)
        return pointer

    def lay_out(self, pointer: Pointer, path: str, out: int, moved: Callable[[int], None]) -> None:
        """Copy an object into an open file, and check its size and hash. `moved` as in `store`.

        Raises:
            StoreError: it is missing or damaged.
        """
        source = self.path_of(pointer.sha256)
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as exc:
            raise StoreError(self._missing(pointer, path)) from exc
        except OSError as exc:
            raise storage_error(exc, f"reading the content of {path}", source) from exc
        try:
            digest, copied = hashlib.sha256(), 0
            for chunk in read_chunks(descriptor, str(source)):
                digest.update(chunk)
                write_all(out, chunk)
                copied += len(chunk)
                moved(len(chunk))
        finally:
            os.close(descriptor)
        if (copied, digest.hexdigest()) != (pointer.size, pointer.sha256):
            raise StoreError(
                f"the content of {path} is damaged: {source} has {copied} bytes and sha256 {digest.hexdigest()}, "
                f"expected {pointer.size} bytes. Replace it with an intact copy"
            )

    def digest(self, descriptor: int, path: str, size: int) -> str:
        """sha256 of an open file, in hex. Writes nothing.

        Raises:
            WorkspaceContentError: the file does not have `size` bytes.
        """
        digest = hashlib.sha256()
        for chunk in read_sized(descriptor, path, size):
            digest.update(chunk)
        return digest.hexdigest()

    def holds(self, pointer: Pointer) -> bool:
        """Whether an object exists with the right size."""
        try:
            return self.path_of(pointer.sha256).stat().st_size == pointer.size
        except OSError:
            return False

    def reuse(self, pointer: Pointer) -> bool:
        """Whether an object exists. If so, its time is updated, so that it does not count as unreferenced.

        Also syncs its name, because its writer may have died before that.
        """
        with self._kept():
            is_there = self._freshened(pointer)
        if is_there:
            sync_directory(self.path_of(pointer.sha256).parent)
        return is_there

    def remove_unreferenced(self, sha256: str, before: float) -> bool:
        """Remove an unreferenced object, unless it is younger than `before`. Returns whether it is gone.

        Args:
            before: seconds since the epoch. Storing or reusing an object updates its time.
        """
        path = self.path_of(sha256)
        with self._kept(shared=False):
            try:
                if path.stat().st_mtime >= before:
                    return False
            except FileNotFoundError:
                return True
            path.unlink()
        return True

    def sweep(self) -> int:
        """Remove temporary files of dead owners. Returns the number."""
        return sum(_remove_if_abandoned(path) for path in self._temporaries())

    def abandoned(self) -> Iterator[Path]:
        """The files that `sweep` would remove."""
        return (path for path in self._temporaries() if _remove_if_abandoned(path, only_look=True))

    def _temporaries(self) -> list[Path]:
        return list(self._temporary.glob("*")) if self._temporary.is_dir() else []

    def _install(self, name: Path, out: int, pointer: Pointer) -> None:
        is_damaged = False
        if self.reuse(pointer):
            is_damaged = not self._is_whole(pointer)
            if not is_damaged:
                return
        os.fchmod(out, _MODE)
        os.fsync(out)
        target = self.path_of(pointer.sha256)
        with self._kept():
            if is_damaged or not self._freshened(pointer):
                make_directories(target.parent)
                name.rename(target)
        sync_directory(target.parent)

    def _is_whole(self, pointer: Pointer) -> bool:
        """Whether an object is readable and intact. If not, the new copy replaces it."""
        path = self.path_of(pointer.sha256)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return self.digest(descriptor, str(path), pointer.size) == pointer.sha256
        except WorkspaceError:
            return False
        finally:
            os.close(descriptor)

    def _freshened(self, pointer: Pointer) -> bool:
        if not self.holds(pointer):
            return False
        try:
            os.utime(self.path_of(pointer.sha256))
        except PermissionError:
            return False  # another user's: a new copy replaces it
        return True

    @contextmanager
    def _kept(self, *, shared: bool = True) -> Iterator[None]:
        """Prevent removal of objects while some are checked and kept. Removal takes the lock exclusively."""
        path = self.root.parent / "perago" / "large-files.lock"
        make_directories(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            acquire(descriptor, path, _LOCK_SECONDS, SystemClock(), shared=shared)
            yield
        finally:
            unlock_and_close(descriptor)

    @contextmanager
    def _temporary_file(self) -> Iterator[tuple[Path, int]]:
        """A file beside the objects, locked while its owner lives. It is removed afterwards unless it was renamed."""
        make_directories(self._temporary)
        self.sweep()
        prefix = f"{platform.node()}-{os.getpid()}-"
        descriptor, name = tempfile.mkstemp(prefix=prefix, dir=self._temporary)
        try:
            try_lock(descriptor)  # nobody else has it: the file is new
            yield Path(name), descriptor
        finally:
            Path(name).unlink(missing_ok=True)
            os.close(descriptor)

    def _missing(self, pointer: Pointer, path: str) -> str:
        repository = self.root.parent
        return (
            f"the content of {path} is not in repository {repository}: object sha256:{pointer.sha256} "
            f"({pointer.size} bytes) is missing. Fetch it with "
            f"{git_command(repository, 'lfs', 'fetch', '--all')}, or copy "
            f"{self.path_of(pointer.sha256).relative_to(repository)} from a repository that has it"
        )


class LfsDigests(LfsStore):
    """Computes pointers and stores nothing."""

    def store(self, descriptor: int, path: str, size: int, moved: Callable[[int], None]) -> Pointer:
        digest = hashlib.sha256()
        for chunk in read_sized(descriptor, path, size):
            digest.update(chunk)
            moved(len(chunk))
        return Pointer(digest.hexdigest(), size)

    def store_bytes(self, data: bytes, path: str) -> Pointer:  # noqa: ARG002 - signature of `LfsStore`
        return Pointer(hashlib.sha256(data).hexdigest(), len(data))


def _remove_if_abandoned(path: Path, *, only_look: bool = False) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if time.time() - os.fstat(descriptor).st_mtime < _ABANDONED_SECONDS:
            return False
        if not try_lock(descriptor):
            return False
        if not only_look:
            path.unlink(missing_ok=True)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
