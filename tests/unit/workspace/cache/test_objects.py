"""The object cache of a host, used by one process."""

from __future__ import annotations

import os
import stat

import pytest

from cache_support import MIB, entry_files, home, keep_file, md5, partial_files, sha256
from perago.workspace.cache import ObjectCache, Usage, cache_key
from perago.workspace.cache.entries import SMALL_BYTES
from perago.workspace.cache.room import charge

SIZES = [0, 1, 1000, 4096 - 136, 4096, SMALL_BYTES, SMALL_BYTES + 1, 3 * MIB + 7]


@pytest.fixture
def cache(tmp_path):
    with ObjectCache(tmp_path / "cache", 64 * MIB) as cache:
        yield cache


@pytest.mark.parametrize("digest", [md5, sha256])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_kept_is_laid_out_with_its_digest(cache, tmp_path, size, digest):
    content = os.urandom(size)
    source = tmp_path / "source"
    source.write_bytes(content)
    assert cache.add("bytes", content, digest(content))
    assert keep_file(cache, "file", source, size, digest(content))
    for key in ("bytes", "file"):
        assert cache.lay_out(key, size, str(tmp_path / key)) == digest(content)
        assert (tmp_path / key).read_bytes() == content
    assert cache.usage() == Usage(2, 2 * charge(size))


def test_the_file_has_the_mode_that_was_asked_for_and_its_bytes_are_its_own(cache, tmp_path):
    for size in (10, 2 * MIB):
        content = os.urandom(size)
        cache.add(str(size), content, md5(content))
        for number, mode in enumerate((0o644, 0o755, 0o600)):
            laid = tmp_path / f"{size}-{number}"
            assert cache.lay_out(str(size), size, str(laid), mode)
            assert stat.S_IMODE(laid.stat().st_mode) == mode
            with laid.open("r+b") as file:
                file.write(b"changed in place")
        assert cache.lay_out(str(size), size, str(tmp_path / f"{size}-again")) == md5(content)


def test_what_is_not_there_is_a_miss_and_leaves_nothing(cache, tmp_path):
    assert cache.lay_out("never", 3, str(tmp_path / "f")) is None
    cache.add("a", b"abc", md5(b"abc"))
    assert cache.lay_out("other", 3, str(tmp_path / "f")) is None
    assert not (tmp_path / "f").exists()


def test_a_file_in_the_way_is_neither_overwritten_nor_followed(cache, tmp_path):
    large = os.urandom(SMALL_BYTES + 1)
    cache.add("small", b"abc", md5(b"abc"))
    cache.add("large", large, md5(large))
    (tmp_path / "f").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for key, size in (("small", 3), ("large", len(large))):
        for name in ("f", "link"):
            with pytest.raises(FileExistsError):
                cache.lay_out(key, size, str(tmp_path / name))
    assert (tmp_path / "f").read_bytes() == b"mine"
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_is_made_of_all_its_parts():
    assert cache_key("a", "b", 1) != cache_key("a", "b1") != cache_key("ab", 1)
    assert cache_key("a", 12) != cache_key("a", 1, 2)


def test_a_cache_of_size_zero_is_no_cache(tmp_path):
    with ObjectCache(tmp_path / "cache", 0) as cache:
        assert not cache.add("a", b"", md5(b""))
        assert not cache.add("a", b"abc", md5(b"abc"))
        assert cache.lay_out("a", 3, str(tmp_path / "f")) is None
        assert cache.usage() == Usage(0, 0)
        assert cache.clear() == Usage(0, 0)
    assert not (tmp_path / "cache").exists()


def test_a_digest_that_nothing_can_be_checked_by_is_a_mistake_of_the_caller(cache):
    for digest in ("", "md5", "crc32:12", "abc"):
        with pytest.raises(ValueError, match="cannot be used to check"):
            cache.add("a", b"abc", digest)
    assert entry_files(cache) == partial_files(cache) == []


def test_what_is_there_already_is_left_as_it_is_and_counted_once(cache, tmp_path):
    assert cache.add("a", b"abc", md5(b"abc"))
    [entry] = entry_files(cache)
    before = entry.stat()
    for _ in range(3):
        assert cache.add("a", b"abc", md5(b"abc"))
    assert entry.stat() == before
    cache.close()
    assert int((cache.directory / "objects-1" / "usage").read_text()) == charge(3)


@pytest.mark.parametrize("size", SIZES)
def test_an_entry_is_read_whole_or_not_at_all(cache, size):
    content = os.urandom(size)
    assert cache.read("a") is None
    assert cache.add("a", content, sha256(content))
    assert cache.read("a") == content
    (path,) = entry_files(cache)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert cache.read("a") is None
    assert entry_files(cache) == []


def test_an_entry_is_replaced_and_removed_with_its_room(cache):
    for content in (b"first", os.urandom(MIB), b"last"):
        assert cache.replace("a", content, md5(content))
        assert cache.read("a") == content
    assert cache.usage() == Usage(1, charge(4))
    assert cache.remove("a")
    assert not cache.remove("a")
    assert cache.read("a") is None
    cache.close()
    assert int((home(cache) / "usage").read_text()) == 0


def test_nothing_is_read_without_a_cache(tmp_path):
    with ObjectCache(tmp_path / "cache", 0) as cache:
        assert cache.read("a") is None
        assert not cache.replace("a", b"abc", md5(b"abc"))
        assert not cache.remove("a")
