"""What a checksum says of content: that it is right, that it is damaged, or nothing."""

import hashlib
import itertools
import os
import random

import pytest

from perago.errors import StoreError
from perago.stores.lakefs.content.block_store import MAX_PARTS, PART_MIB, parts_of
from perago.stores.lakefs.content.transfer import (
    PART_SIZES_MIB,
    ChecksumMatch,
    judge_file,
    judge_small,
    likely_parts,
)

MIB = 1024 * 1024
OF_KMS = "0123456789abcdef0123456789abcdef"
"""What S3 gives with keys of KMS: the form of an MD5, and the MD5 of nothing."""


def md5(content):
    return hashlib.md5(content).hexdigest()


def md5_of_parts(content, *sizes):
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    parts = [content[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    assert sum(sizes) == len(content)
    return md5(b"".join(hashlib.md5(part).digest() for part in parts))


def noise(size):
    return random.Random(size).randbytes(size)


@pytest.fixture
def judged(tmp_path):
    """Judge content by a checksum, as a large file."""

    def judge(content, checksum):
        path = tmp_path / "file"
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return judge_file(checksum, descriptor, len(content), md5(content))
        finally:
            os.close(descriptor)

    return judge


def test_the_md5_of_content_or_of_its_one_part_is_right(judged):
    for content in (b"content", noise(6 * MIB)):
        for checksum in (md5(content), md5_of_parts(content, len(content))):
            assert judge_small(checksum, md5(content)) is ChecksumMatch.RIGHT
            assert judged(content, checksum) is ChecksumMatch.RIGHT


@pytest.mark.parametrize("part", sorted(size for size in PART_SIZES_MIB if size < 20))
def test_parts_of_a_size_that_clients_use_are_verified(judged, part):
    content = noise(20 * MIB + 1)
    whole, rest = divmod(len(content), part * MIB)
    assert judged(content, md5_of_parts(content, *[part * MIB] * whole, rest)) is ChecksumMatch.RIGHT


@pytest.mark.parametrize("size", [5 * MIB, 14 * MIB])
def test_what_may_be_of_parts_of_another_size_tells_nothing(judged, size):
    content = noise(size)
    first = size // 2 + 1
    assert judged(content, md5_of_parts(content, first, size - first)) is ChecksumMatch.DOUBTFUL
    assert judged(content, OF_KMS) is ChecksumMatch.DOUBTFUL


def test_what_is_too_small_for_parts_and_differs_is_damaged(judged):
    content = noise(5 * MIB - 1)
    for checksum in (md5(b"other"), OF_KMS):
        assert judged(content, checksum) is ChecksumMatch.WRONG
        assert judge_small(checksum, md5(b"content")) is ChecksumMatch.WRONG


@pytest.mark.parametrize("checksum", ["", f"{OF_KMS}-3", "0x8DC5B6F0A1B2C3D", OF_KMS.upper(), "sha256:00"])
def test_what_is_no_md5_tells_nothing(judged, checksum):
    assert judge_small(checksum, md5(b"content")) is ChecksumMatch.OPAQUE
    assert judged(noise(6 * MIB), checksum) is ChecksumMatch.OPAQUE


@pytest.mark.parametrize("part", sorted(size for size in PART_SIZES_MIB if size < 20))
def test_a_checksum_with_the_number_of_parts_is_verified(judged, part):
    content = noise(20 * MIB + 1)
    whole, rest = divmod(len(content), part * MIB)
    checksum = f"{md5_of_parts(content, *[part * MIB] * whole, rest)}-{whole + 1}"
    assert judged(content, checksum) is ChecksumMatch.RIGHT
    assert judged(content[:-1] + b"?", checksum) is ChecksumMatch.DOUBTFUL


def test_a_number_of_parts_that_no_common_size_makes_says_nothing(judged):
    assert judged(noise(20 * MIB), f"{OF_KMS}-19") is ChecksumMatch.OPAQUE
    assert judged(b"content", f"{OF_KMS}-2") is ChecksumMatch.OPAQUE


GIB = 1024 * MIB


@pytest.mark.parametrize("size", [16 * MIB + 1, 6 * GIB, 25 * GIB, 156 * GIB, 157 * GIB, 4_000 * GIB])
def test_our_own_parts_are_of_a_size_that_downloads_know(size):
    parts = parts_of(size)
    assert [parts[0].start, parts[-1].stop] == [0, size]
    assert all(before.stop == part.start for before, part in itertools.pairwise(parts))
    assert len(parts) <= MAX_PARTS
    assert {len(part) for part in parts[:-1]} == {len(parts[0])}
    assert len(parts[0]) in likely_parts(f"{OF_KMS}-{len(parts)}", size)


def test_a_file_that_no_object_can_hold_is_refused():
    with pytest.raises(StoreError, match="Write several smaller files"):
        parts_of(PART_MIB[-1] * MIB * MAX_PARTS + 1)
