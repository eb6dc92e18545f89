"""A file of the cache: an object's content, then a trailer with the object's name, size and digest.

The trailer comes last so that an entry can be cloned and the clone truncated. Nothing is synced: the digest reveals an
entry that a machine crash has damaged.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from perago.workspace.cache.cloning import open_clone
from perago.workspace.digest import CHUNK_BYTES, algorithm_of, digest_bytes, is_known, new_hasher
from perago.workspace.new_files import CREATE, write_all, write_all_at

TRAILER_BYTES = 136
SMALL_BYTES = 256 * 1024
"""Content up to this size is read, checked and written in one piece. Cloning only pays for larger content."""

_MAGIC = b"perago-1"
_DIGEST_BYTES = 72
"""Part of the trailer, which contains the magic, the entry's name (40), the size in hexadecimal (16), and the digest.
The longest digest is a SHA-256."""


class DamagedEntryError(Exception):
    """An entry differs from what was stored. Handled within the cache."""


def trailer(name: str, size: int, digest: str) -> bytes:
    """The trailer of an entry.

    Raises:
        ValueError: the digest is not one that can be checked later.
    """
    if not is_known(digest) or len(digest) > _DIGEST_BYTES:
        raise ValueError(f"{digest!r} cannot be used to check a cache entry; give a digest of a known algorithm")
    return _head(name, size) + digest.encode().ljust(_DIGEST_BYTES)


def read_trailer(data: bytes, name: str, size: int) -> str:
    """The digest in a trailer.

    Raises:
        DamagedEntryError: it is not a trailer, or belongs to another object or size.
    """
    head = _head(name, size)
    digest = data[len(head) :].rstrip().decode("ascii", "replace")
    if len(data) != TRAILER_BYTES or not data.startswith(head) or not is_known(digest):
        raise DamagedEntryError
    return digest


def _head(name: str, size: int) -> bytes:
    return b"%s%s%016x" % (_MAGIC, name.encode(), size)


def read_entry(entry: int, name: str) -> bytes:
    """Read and check the content of an open entry of any size.

    Raises:
        DamagedEntryError
    """
    size = max(os.fstat(entry).st_size - TRAILER_BYTES, 0)
    digest = read_trailer(_read_piece(entry, TRAILER_BYTES, size), name, size)
    content = _read_piece(entry, size, 0)
    if digest_bytes(content, algorithm_of(digest)) != digest:
        raise DamagedEntryError
    return content


def lay_out_small(entry: int, name: str, size: int, target: str, mode: int, dir_fd: int | None) -> str:
    """Check content of at most `SMALL_BYTES`, and write it to a new file. Returns its digest.

    Args:
        dir_fd: directory that `target` is relative to.

    Raises:
        DamagedEntryError: nothing was written.
        OSError: the target cannot be written; nothing is left of it.
    """
    data = _read_piece(entry, size + TRAILER_BYTES, 0)
    content = data[:size]
    digest = read_trailer(data[size:], name, size)
    if digest_bytes(content, algorithm_of(digest)) != digest:
        raise DamagedEntryError
    made = os.open(target, CREATE, mode, dir_fd=dir_fd)
    try:
        write_all(made, content)
    except BaseException:
        os.unlink(target, dir_fd=dir_fd)
        raise
    finally:
        os.close(made)
    return digest


def lay_out_large(
    entry: int, name: str, size: int, target: str, mode: int, dir_fd: int | None, *, clones: bool
) -> tuple[str, bool]:
    """Copy content to a new file, or clone it, and check it at the same time.

    Args:
        dir_fd: directory that `target` is relative to.
        clones: try to clone.

    Returns:
        its digest, and whether it was cloned.

    Raises:
        DamagedEntryError, OSError: as `lay_out_small`.
    """
    digest = read_trailer(_read_piece(entry, TRAILER_BYTES, size), name, size)
    made = open_clone(entry, target, mode, dir_fd) if clones else None
    cloned = made is not None
    if made is None:
        made = os.open(target, CREATE, mode, dir_fd=dir_fd)
    try:
        if cloned:
            os.ftruncate(made, size)
            _check(entry, size, digest, _ignore)
        else:
            _copy_checked(entry, size, digest, made)
    except BaseException:
        os.unlink(target, dir_fd=dir_fd)
        raise
    finally:
        os.close(made)
    return digest, cloned


def is_whole(entry: int, name: str, size: int) -> bool:
    """Whether an open file is an intact entry of this name and size."""
    try:
        digest = read_trailer(_read_piece(entry, TRAILER_BYTES, max(size, 0)), name, size)
        _check(entry, size, digest, _ignore)
    except DamagedEntryError:
        return False
    return True


def write_entry(path: str, name: str, content: bytes, digest: str) -> None:
    """Create an entry from content in memory.

    Raises:
        OSError: it cannot be written; the caller removes the rest.
    """
    end = trailer(name, len(content), digest)
    made = os.open(path, CREATE, 0o600)
    try:
        if os.writev(made, (content, end)) != len(content) + len(end):
            os.ftruncate(made, 0)
            os.lseek(made, 0, os.SEEK_SET)
            write_all(made, content + end)
    finally:
        os.close(made)


def copy_entry(path: str, name: str, source: int, size: int, digest: str, *, clones: bool) -> bool:
    """Create an entry from an open file, by cloning if possible. Returns whether it was cloned.

    Raises:
        DamagedEntryError: the file is too short.
        OSError: the file cannot be read, or the entry not written; the caller removes the rest.
    """
    made = open_clone(source, path, 0o600) if clones else None
    cloned = made is not None
    if made is None:
        made = begin_entry(path, size)
    try:
        if not cloned:
            _read(source, size, partial(write_all, made))
        end_entry(made, name, size, digest)
    finally:
        os.close(made)
    return cloned


def begin_entry(path: str, size: int) -> int:
    """Create a file for an entry whose content follows. Returns its descriptor.

    It has its final length from the start, so that its bytes on the disk are counted.

    Raises:
        OSError
    """
    made = os.open(path, CREATE, 0o600)
    try:
        os.ftruncate(made, size)
    except BaseException:
        os.close(made)
        raise
    return made


def end_entry(made: int, name: str, size: int, digest: str) -> None:
    """Write the trailer after the content.

    Raises:
        OSError
    """
    end = trailer(name, size, digest)
    os.ftruncate(made, size)  # a clone may have another length
    write_all_at(made, end, size)


def remove_file(path: str) -> bool:
    """Try to remove a file. Returns whether it was removed."""
    try:
        Path(path).unlink()
    except OSError:
        return False
    return True


def _check(source: int, size: int, digest: str, each: Callable[[memoryview], None]) -> None:
    """Read a file piece by piece. Raises `DamagedEntryError` if the digest differs."""
    algorithm = algorithm_of(digest)
    hasher = new_hasher(algorithm, size)

    def take(piece: memoryview) -> None:
        hasher.update(piece)
        each(piece)

    _read(source, size, take)
    if f"{algorithm}:{hasher.hexdigest()}" != digest:
        raise DamagedEntryError


def _copy_checked(source: int, size: int, digest: str, target: int) -> None:
    """As `_check`, and write each piece while another thread hashes it. Both take about the same time.

    Raises:
        DamagedEntryError: the digest differs.
        OSError: the target cannot be written.
    """
    algorithm = algorithm_of(digest)
    hasher = new_hasher(algorithm, size)
    buffers = itertools.cycle([memoryview(bytearray(min(CHUNK_BYTES, size))) for _ in range(2)])
    offset, hashing = 0, None
    with ThreadPoolExecutor(1, thread_name_prefix="hash-entry") as other:
        while offset < size:
            piece = _read_into(source, next(buffers)[: size - offset], offset)
            if hashing is not None:
                hashing.result()
            hashing = other.submit(hasher.update, piece)
            write_all(target, piece)
            offset += len(piece)
    if f"{algorithm}:{hasher.hexdigest()}" != digest:
        raise DamagedEntryError


def _read(source: int, size: int, each: Callable[[memoryview], None]) -> None:
    """Read a file's first `size` bytes, independent of its position."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, size)))
    offset = 0
    while offset < size:
        piece = _read_into(source, buffer[: size - offset], offset)
        each(piece)
        offset += len(piece)


def _read_into(source: int, buffer: memoryview, offset: int) -> memoryview:
    try:
        count = os.preadv(source, [buffer], offset)
    except OSError as exc:
        raise DamagedEntryError from exc
    if count == 0:
        raise DamagedEntryError
    return buffer[:count]


def _read_piece(source: int, count: int, offset: int) -> bytes:
    try:
        return os.pread(source, count, offset)
    except OSError as exc:
        raise DamagedEntryError from exc


def _ignore(_piece: memoryview) -> None:
    pass
