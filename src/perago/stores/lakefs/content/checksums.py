"""Whether content is what the server's checksum says, where that is a checksum at all.

It is the content's MD5 where the object came in one piece. An object that came in parts, through the S3 gateway, has
the MD5 of its parts' MD5s there, and nothing tells the two apart but the content, where the size of the parts is one
that clients use. What a client put into the block store itself has what that gave: on S3 with keys of KMS, 32
hexadecimal digits that are no MD5.
"""

from __future__ import annotations

import enum
import hashlib
import os
import re
from collections.abc import Iterator

from perago.workspace.digest import CHUNK_BYTES

_MIB = 1024 * 1024
PART_SIZES_MIB = (8, 5, 16, 10, 64, 100, 128, 50, 32, 15, 20, 25, 6, 7, 12, 256, 512)
"""Sizes in which clients upload parts, the commonest first: 8 of AWS' tools and boto3, 5 of the S3 minimum, rclone and
the Go SDK, 16 of MinIO, 10 of lakectl and Arrow, 64 to 128 of Hadoop, 50 of s5cmd."""

SMALLEST_PART_BYTES = 5 * _MIB
"""S3 takes none that is smaller, the last one aside."""

_MD5 = re.compile(r"[0-9a-f]{32}")


class ChecksumMatch(enum.Enum):
    """What a checksum says of content."""

    RIGHT = "it is the content's MD5, or that of its parts' MD5s"
    OPAQUE = "it is no MD5"
    DOUBTFUL = "it is another content's, or that of parts of a size that is not known"
    WRONG = "it is another content's, or no MD5 although it looks like one"


def is_md5(checksum: str) -> bool:
    """Whether it looks like an MD5."""
    return _MD5.fullmatch(checksum) is not None


def judge_small(checksum: str, md5: str) -> ChecksumMatch:
    """Judge content too small for several parts, by its MD5."""
    if not is_md5(checksum):
        return ChecksumMatch.OPAQUE
    return ChecksumMatch.RIGHT if checksum in (md5, _md5_of_one_part(md5)) else ChecksumMatch.WRONG


def judge_file(checksum: str, descriptor: int, size: int, md5: str) -> ChecksumMatch:
    """Judge the content of an open file, whose MD5 is known. Reads it again only where that is another one.

    Raises:
        OSError: it cannot be read.
    """
    known = judge_small(checksum, md5)
    if known is not ChecksumMatch.WRONG or size < SMALLEST_PART_BYTES:
        return known
    for part in PART_SIZES_MIB:
        if part * _MIB < size and checksum == _md5_of_parts(descriptor, size, part * _MIB):
            return ChecksumMatch.RIGHT
    return ChecksumMatch.DOUBTFUL


def _md5_of_one_part(md5: str) -> str:
    return hashlib.md5(bytes.fromhex(md5), usedforsecurity=False).hexdigest()


def _md5_of_parts(descriptor: int, size: int, part: int) -> str:
    whole = hashlib.md5(usedforsecurity=False)
    for first in range(0, size, part):
        whole.update(md5_of_range(descriptor, first, min(first + part, size)).digest())
    return whole.hexdigest()


def md5_of_range(descriptor: int, first: int, end: int) -> hashlib._Hash:
    """The MD5 of a file's bytes from `first` up to `end`, that one left out."""
    hasher = hashlib.md5(usedforsecurity=False)
    for piece in read_range(descriptor, first, end):
        hasher.update(piece)
    return hasher


def read_range(descriptor: int, first: int, end: int) -> Iterator[bytes]:
    """A file's bytes from `first` up to `end`, that one left out, a chunk at a time."""
    while first < end and (piece := os.pread(descriptor, min(CHUNK_BYTES, end - first), first)):
        yield piece
        first += len(piece)
