"""Digests of file content, as strings `<algorithm>:<hex>`."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

from perago.errors import WorkspaceContentError
from perago.files.beneath import Beneath
from perago.files.storage import opened_file, storage_error
from perago.values.names import show_name

SHA256 = "sha256"
MD5 = "md5"
"""The checksum in object stores. It detects damage, but is no defense against an attacker."""
GIT_SHA1 = "git-sha1"
"""A git blob's id: SHA-1 of `blob <size>`, a NUL, and the content. An identifier only, not a security feature."""

MD5_OF_PARTS = "md5-of-parts"
"""The checksum in S3 of an object that was uploaded in parts. Its algorithm is `md5-of-parts/<bytes of a part>`, and a
hyphen and the number of parts follow its hexadecimal digits."""

CHUNK_BYTES = 1024 * 1024
"""Bytes of a file that are in memory at a time."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL)
_STILL_AT_WORK = "the task must end every process that it started before it returns"


class Hasher(Protocol):
    """The part of `hashlib`'s objects that is used here."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Md5OfParts:
    """Hashes content in parts of so many bytes; the last one is what remains."""

    def __init__(self, part: int) -> None:
        self._part = part
        self._md5s: list[str] = []
        self._start()

    def update(self, data: bytes | memoryview, /) -> None:
        rest = memoryview(data)
        while len(rest) >= self._missing:
            self._hasher.update(rest[: self._missing])
            self._md5s.append(self._hasher.hexdigest())
            rest = rest[self._missing :]
            self._start()
        self._hasher.update(rest)
        self._missing -= len(rest)

    @property
    def md5s(self) -> list[str]:
        """The MD5 of each part, in hexadecimal."""
        return self._md5s if self._missing == self._part else [*self._md5s, self._hasher.hexdigest()]

    def hexdigest(self) -> str:
        return md5_of_md5s(self.md5s)

    def _start(self) -> None:
        self._hasher = hashlib.md5(usedforsecurity=False)
        self._missing = self._part


def md5_of_md5s(md5s: Sequence[str]) -> str:
    """The checksum of an upload in parts with these MD5s, in hexadecimal: the MD5 of their bytes, and their number."""
    whole = hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(md5s)}"


def _new_sha256(_size: int) -> Hasher:
    return hashlib.sha256()


def _new_md5(_size: int) -> Hasher:
    return hashlib.md5(usedforsecurity=False)


def _new_git_sha1(size: int) -> Hasher:
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


_ALGORITHMS: dict[str, Callable[[int], Hasher]] = {SHA256: _new_sha256, MD5: _new_md5, GIT_SHA1: _new_git_sha1}


@lru_cache(maxsize=64)
def _new(algorithm: str) -> Callable[[int], Hasher] | None:
    name, _, part = algorithm.partition("/")
    if name == MD5_OF_PARTS and part.isascii() and part.isdigit() and int(part):
        return lambda _size: Md5OfParts(int(part))
    return _ALGORITHMS.get(algorithm)


def algorithm_of(digest: str) -> str:
    """The part of a digest before the colon."""
    return digest.partition(":")[0]


def is_known(digest: str) -> bool:
    """Whether this module can compute such a digest, so that a file can be compared with it."""
    algorithm, colon, value = digest.partition(":")
    return bool(colon and value) and _new(algorithm) is not None


def new_hasher(algorithm: str, size: int) -> Hasher:
    """An object that hashes content piece by piece. Its `hexdigest` is the part of a digest after the colon.

    Args:
        size: of the whole content in bytes; a git blob's id includes it.

    Raises:
        ValueError: the algorithm is unknown.
    """
    new = _new(algorithm)
    if new is None:
        known = ", ".join([*_ALGORITHMS, f"{MD5_OF_PARTS}/<bytes>"])
        raise ValueError(f"unknown digest algorithm {algorithm!r}; use one of {known}")
    return new(size)


def digest_bytes(content: bytes, algorithm: str) -> str:
    """The digest of bytes in memory.

    Raises:
        ValueError: the algorithm is unknown.
    """
    hasher = new_hasher(algorithm, len(content))
    hasher.update(content)
    return f"{algorithm}:{hasher.hexdigest()}"


def digest_file(files: Beneath, path: str, algorithm: str, size: int) -> str:
    """The digest of a regular file, read in pieces of `CHUNK_BYTES`.

    Args:
        files: the directory that contains it.
        path: relative to the directory; must not contain symbolic links.
        algorithm: "sha256", "md5", "git-sha1", or "md5-of-parts/<bytes>".
        size: its scanned size in bytes.

    Raises:
        WorkspaceContentError: it is missing, unreadable, or not (or no longer) a regular file of this size.
        WorkspaceStorageError: the disk failed.
        ValueError: the algorithm is unknown.
    """
    hasher = new_hasher(algorithm, size)
    with _content_errors(path):
        read = _feed(hasher, files, path, size)
    if read != size:
        raise WorkspaceContentError(
            f"file {show_name(path)} changed while it was read: {size} bytes before, "
            f"{'more' if read > size else read} now; {_STILL_AT_WORK}"
        )
    return f"{algorithm}:{hasher.hexdigest()}"


def _feed(hasher: Hasher, files: Beneath, path: str, size: int) -> int:
    """Read the file into the hasher. Returns the number of bytes, which is one above the size if the file has grown."""
    with opened_file(path, files) as file:
        buffer = memoryview(bytearray(min(CHUNK_BYTES, size + 1)))
        read = 0
        while count := file.readinto(buffer[: size + 1 - read]):
            hasher.update(buffer[:count])
            read += count
    return read


@contextmanager
def _content_errors(path: str) -> Iterator[None]:
    """Convert errors: a file that the body removed or made unreadable is the body's fault, others are the disk's."""
    try:
        yield
    except PermissionError as exc:
        raise WorkspaceContentError(
            f"file {show_name(path)} cannot be read by this process; give it read permission"
        ) from exc
    except OSError as exc:
        if exc.errno in _GONE:
            raise WorkspaceContentError(
                f"{show_name(path)} was removed after it was scanned, or is no longer a regular file; {_STILL_AT_WORK}"
            ) from exc
        raise storage_error(exc, "cannot read file", path) from exc
