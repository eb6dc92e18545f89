"""One file of the cache: an object's content, and behind it a trailer with its size and digest.

The trailer stands behind the content so that an entry can be cloned, and the clone then cut. Nothing is synced: an
entry that a crash of the machine tore is told by its digest, like any other damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from perago.workspace.cache.cloning import CREATE, open_clone
from perago.workspace.digest import CHUNK_BYTES, algorithm_of, digest_bytes, is_known, new_hasher

TRAILER_BYTES = 96
SMALL_BYTES = 256 * 1024
"""Content up to this size is read, checked and written in one piece; only what is larger is worth a clone."""

_MAGIC = b"perago-1"
_SIZE_DIGITS, _DIGEST_BYTES = 16, 72
"""Of the trailer: the size in hexadecimal, and a digest's text, the longest of which is a SHA-256."""


class DamagedEntryError(Exception):
    """An entry is not what was put there. It never leaves the cache."""


def trailer(size: int, digest: str) -> bytes:
    """What stands behind the content.

    Raises:
        ValueError: no digest that could be compared later.
    """
    if not is_known(digest) or len(digest) > _DIGEST_BYTES:
        raise ValueError(f"{digest!r} is no digest that a cache entry could be checked by")
    return _MAGIC + b"%016x" % size + digest.encode().ljust(_DIGEST_BYTES)


def read_trailer(data: bytes, size: int) -> str:
    """The digest that a trailer tells.

    Raises:
        DamagedEntryError: it is no trailer, or one of content of another size.
    """
    head = len(_MAGIC) + _SIZE_DIGITS
    if data[:head] != _MAGIC + b"%016x" % size:
        raise DamagedEntryError
    digest = data[head:].rstrip().decode("ascii", "replace")
    if not is_known(digest):
        raise DamagedEntryError
    return digest


def lay_out_small(entry: int, size: int, target: str, mode: int) -> str:
    """Check content of at most `SMALL_BYTES`, and write it to a new file; returns its digest.

    Raises:
        DamagedEntryError: and nothing was written.
        OSError: the target cannot be written; nothing of it is left.
    """
    data = _read_piece(entry, size + TRAILER_BYTES, 0)
    content = data[:size]
    digest = read_trailer(data[size:], size)
    if digest_bytes(content, algorithm_of(digest)) != digest:
        raise DamagedEntryError
    made = os.open(target, CREATE, mode)
    try:
        write_all(made, content)
    except BaseException:
        Path(target).unlink()
        raise
    finally:
        os.close(made)
    return digest


def lay_out_large(entry: int, size: int, target: str, mode: int, *, clones: bool) -> tuple[str, bool]:
    """Write content to a new file piece by piece, or clone it, and check it meanwhile.

    Args:
        clones: try to clone.

    Returns:
        its digest, and whether it was cloned.

    Raises:
        DamagedEntryError, OSError: as `lay_out_small`.
    """
    digest = read_trailer(_read_piece(entry, TRAILER_BYTES, size), size)
    made = open_clone(entry, target, mode) if clones else None
    cloned = made is not None
    if made is None:
        made = os.open(target, CREATE, mode)
    try:
        if cloned:
            os.ftruncate(made, size)
            _check(entry, size, digest, _ignore)
        else:
            _check(entry, size, digest, partial(write_all, made))
    except BaseException:
        Path(target).unlink()
        raise
    finally:
        os.close(made)
    return digest, cloned


def write_entry(path: str, content: bytes, digest: str) -> None:
    """Make an entry of content in memory.

    Raises:
        OSError: it cannot be written; the caller removes what there is.
    """
    end = trailer(len(content), digest)
    made = os.open(path, CREATE, 0o600)
    try:
        if os.writev(made, (content, end)) != len(content) + len(end):
            os.ftruncate(made, 0)
            os.lseek(made, 0, os.SEEK_SET)
            write_all(made, content + end)
    finally:
        os.close(made)


def copy_entry(path: str, source: int, size: int, digest: str, *, clones: bool) -> bool:
    """Make an entry of an open file, by cloning it if the file system can; returns whether it was cloned.

    Raises:
        DamagedEntryError: the file is shorter.
        OSError: it cannot be read, or the entry not written; the caller removes what there is.
    """
    end = trailer(size, digest)
    made = open_clone(source, path, 0o600) if clones else None
    cloned = made is not None
    if made is None:
        made = os.open(path, CREATE, 0o600)
    try:
        if cloned:
            os.ftruncate(made, size)
            os.lseek(made, size, os.SEEK_SET)
        else:
            _read(source, size, partial(write_all, made))
        write_all(made, end)
    finally:
        os.close(made)
    return cloned


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it, in as many calls as that takes.

    Raises:
        OSError
    """
    written = os.write(descriptor, data)
    while written < len(data):
        data = memoryview(data)[written:]
        written = os.write(descriptor, data)


def remove_file(path: str) -> None:
    """Remove a file, if it is there and can be removed."""
    with suppress(OSError):
        Path(path).unlink()


def _check(source: int, size: int, digest: str, each: Callable[[memoryview], None]) -> None:
    """Read a file piece by piece; raises `DamagedEntryError` where it has another digest in the end."""
    algorithm = algorithm_of(digest)
    hasher = new_hasher(algorithm, size)

    def take(piece: memoryview) -> None:
        hasher.update(piece)
        each(piece)

    _read(source, size, take)
    if f"{algorithm}:{hasher.hexdigest()}" != digest:
        raise DamagedEntryError


def _read(source: int, size: int, each: Callable[[memoryview], None]) -> None:
    """Read a file's first `size` bytes from its beginning, whatever its position."""
    buffer = memoryview(bytearray(min(CHUNK_BYTES, size)))
    offset = 0
    while offset < size:
        try:
            count = os.preadv(source, [buffer[: size - offset]], offset)
        except OSError as exc:
            raise DamagedEntryError from exc
        if count == 0:
            raise DamagedEntryError
        each(buffer[:count])
        offset += count


def _read_piece(source: int, count: int, offset: int) -> bytes:
    try:
        return os.pread(source, count, offset)
    except OSError as exc:
        raise DamagedEntryError from exc


def _ignore(_piece: memoryview) -> None:
    pass
