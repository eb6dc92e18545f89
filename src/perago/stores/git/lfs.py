"""Large files in git-lfs layout: content in `lfs/objects/aa/bb/<sha256>`, a pointer in the tree.

Large files are streamed, whereas a blob is completely in memory, more than once. `git lfs` reads the result.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from perago.errors import StoreError, WorkspaceError
from perago.files.beneath import READ
from perago.files.lock import try_lock, unlock_and_close
from perago.ports import SystemClock
from perago.stores.git.files import RepositoryFiles, write_all
from perago.stores.git.locks import acquire, open_lock
from perago.stores.git.repository import BareRepository, git_command, storage_error, translated
from perago.workspace.reading import read_chunks, read_sized

LFS_THRESHOLD = 1 << 20
"""Bytes. Files of this size and larger are stored in git-lfs layout."""

POINTER_LIMIT = 1024
"""Bytes. A pointer is smaller (git-lfs specification)."""

_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER = re.compile(re.escape(_VERSION) + rb"oid sha256:([0-9a-f]{64})\nsize (0|[1-9][0-9]{0,18})\n?")
_MODE = 0o444
_LOCK = "perago/large-files.lock"
_OBJECTS, _TEMPORARIES = "lfs/objects", "lfs/tmp"
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


_LEAST_POINTER = len(Pointer("0" * 64, 0).encode()) - 1
"""Bytes. The last line of a pointer may lack its end."""


def may_be_pointer(size: int) -> bool:
    """Whether a blob of this size has to be read to know whether it is a pointer."""
    return _LEAST_POINTER <= size < POINTER_LIMIT


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
        root: the repository's `lfs` directory, for messages.
    """

    def __init__(self, repository: BareRepository) -> None:
        self.repository = repository
        self.root = repository.path / "lfs"

    def path_of(self, sha256: str) -> Path:
        return self.repository.path / _object(sha256)

    def store(self, descriptor: int, path: str, size: int, moved: Callable[[int], None]) -> Pointer:
        """Stream a file into the store and sync it, unless it is already there.

        Args:
            moved: called with the size of each chunk; if it raises, nothing is stored.

        Raises:
            WorkspaceContentError: the file does not have `size` bytes.
        """
        with self._temporary_file(f"storing {path}") as (files, name, out):
            digest = hashlib.sha256()
            for chunk in read_sized(descriptor, path, size):
                digest.update(chunk)
                write_all(out, chunk)
                moved(len(chunk))
            pointer = Pointer(digest.hexdigest(), size)
            self._install(files, name, out, pointer)
        return pointer

    def store_bytes(self, data: bytes, path: str) -> Pointer:
        """As `store`, from memory."""
        pointer = Pointer(hashlib.sha256(data).hexdigest(), len(data))
        with self._temporary_file(f"storing {path}") as (files, name, out):
            write_all(out, data)
            self._install(files, name, out, pointer)
        return pointer

    def lay_out(self, pointer: Pointer, path: str, out: int, moved: Callable[[int], None]) -> None:
        """Copy an object into an open file, and check its size and hash. `moved` as in `store`.

        Raises:
            StoreError: it is missing or damaged.
        """
        source = self.path_of(pointer.sha256)
        try:
            descriptor = self._open(pointer.sha256)
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

    def digest_of(self, sha256: str) -> str:
        """sha256 of an object's content, in hex.

        Raises:
            OSError: it is missing, cannot be read, or is not a regular file.
        """
        descriptor, digest = self._open(sha256), hashlib.sha256()
        try:
            for chunk in read_chunks(descriptor, str(self.path_of(sha256))):
                digest.update(chunk)
        finally:
            os.close(descriptor)
        return digest.hexdigest()

    def holds(self, pointer: Pointer) -> bool:
        """Whether an object exists with the right size."""
        with self.repository.files() as files:
            return _holds(files, pointer)

    def reuse(self, pointer: Pointer) -> bool:
        """Whether an object exists. If so, its time is updated, so that it does not count as unreferenced.

        Also syncs its name, because its writer may have died before that.
        """
        with self.repository.files() as files:
            return self._reuse(files, pointer)

    def remove_unreferenced(self, sha256: str, before: float) -> bool:
        """Remove an unreferenced object, unless it is younger than `before`. Returns whether it is gone.

        Args:
            before: seconds since the epoch. Storing or reusing an object updates its time.
        """
        with self.repository.files() as files, self._kept(files, shared=False):
            try:
                if files.lstat(_object(sha256)).st_mtime >= before:
                    return False
            except FileNotFoundError:
                return True
            files.unlink(_object(sha256))
        return True

    def sweep(self) -> int:
        """Remove temporary files of dead owners. Returns the number."""
        with self.repository.files() as files:
            return sum(_remove_if_abandoned(files, path) for path in _temporaries(files))

    def abandoned(self) -> Iterator[Path]:
        """The files that `sweep` would remove."""
        with self.repository.files() as files:
            found = [path for path in _temporaries(files) if _remove_if_abandoned(files, path, only_look=True)]
        return (self.repository.path / path for path in found)

    def _open(self, sha256: str) -> int:
        with self.repository.files() as files:
            return files.open(_object(sha256), READ)

    def _install(self, files: RepositoryFiles, name: str, out: int, pointer: Pointer) -> None:
        is_damaged = False
        if self._reuse(files, pointer):
            is_damaged = not self._is_whole(pointer)
            if not is_damaged:
                return
        os.fchmod(out, files.shared(_MODE))
        os.fsync(out)
        target = _object(pointer.sha256)
        with self._kept(files):
            if is_damaged or not _freshened(files, pointer):
                files.make_directories(_parent(target))
                files.rename(name, target)
        files.sync(_parent(target))

    def _reuse(self, files: RepositoryFiles, pointer: Pointer) -> bool:
        with self._kept(files):
            is_there = _freshened(files, pointer)
        if is_there:
            files.sync(_parent(_object(pointer.sha256)))
        return is_there

    def _is_whole(self, pointer: Pointer) -> bool:
        """Whether an object is readable and intact. If not, the new copy replaces it."""
        try:
            return self.digest_of(pointer.sha256) == pointer.sha256
        except (OSError, WorkspaceError):
            return False

    @contextmanager
    def _kept(self, files: RepositoryFiles, *, shared: bool = True) -> Iterator[None]:
        """Prevent removal of objects while some are checked and kept. Removal takes the lock exclusively."""
        descriptor = open_lock(files, _LOCK)
        try:
            acquire(descriptor, self.repository.path / _LOCK, _LOCK_SECONDS, SystemClock(), shared=shared)
            yield
        finally:
            unlock_and_close(descriptor)

    @contextmanager
    def _temporary_file(self, doing: str) -> Iterator[tuple[RepositoryFiles, str, int]]:
        """A file beside the objects, locked while its owner lives. It is removed afterwards unless it was renamed.

        Args:
            doing: for the message of an error in the context.
        """
        with translated(doing, self.root), self.repository.files() as files:
            files.make_directories(_TEMPORARIES)
            self.sweep()
            name, descriptor = files.open_temporary(_TEMPORARIES, f"{platform.node()}-{os.getpid()}-")
            try:
                try_lock(descriptor)  # nobody else has it: the file is new
                yield files, name, descriptor
            finally:
                with suppress(FileNotFoundError):
                    files.unlink(name)
                os.close(descriptor)

    def _missing(self, pointer: Pointer, path: str) -> str:
        repository = self.repository.path
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


def _object(sha256: str) -> str:
    return f"{_OBJECTS}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _holds(files: RepositoryFiles, pointer: Pointer) -> bool:
    try:
        status = files.lstat(_object(pointer.sha256))
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == pointer.size


def _freshened(files: RepositoryFiles, pointer: Pointer) -> bool:
    if not _holds(files, pointer):
        return False
    try:
        files.touch(_object(pointer.sha256))
    except PermissionError:
        return False  # another user's: a new copy replaces it
    return True


def _temporaries(files: RepositoryFiles) -> list[str]:
    return [f"{_TEMPORARIES}/{name}" for name in files.names(_TEMPORARIES)]


def _remove_if_abandoned(files: RepositoryFiles, path: str, *, only_look: bool = False) -> bool:
    try:
        descriptor = files.open_regular(path, os.O_RDWR)
    except OSError:
        return False
    try:
        if time.time() - os.fstat(descriptor).st_mtime < _ABANDONED_SECONDS:
            return False
        if not try_lock(descriptor):
            return False
        if not only_look:
            with suppress(FileNotFoundError):
                files.unlink(path)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)
