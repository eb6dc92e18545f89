"""`perago cache`: what the host's object cache holds, and an empty one."""

from __future__ import annotations

import hashlib

import pytest

from perago.workspace.cache import ObjectCache


@pytest.fixture
def cache_dir(tmp_path, monkeypatch, perago):
    monkeypatch.setenv("PERAGO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fill(cache_dir, count):
    with ObjectCache(cache_dir, 1 << 30) as cache:
        for number in range(count):
            content = b"%d" % number
            assert cache.add(f"key {number}", content, "md5:" + hashlib.md5(content).hexdigest())


def test_a_cache_that_was_never_used_is_empty_and_is_not_made(perago, cache_dir):
    said = perago("cache")
    assert (said.code, said.out) == (0, f"{cache_dir}: 0 objects, 0 B of at most 10.0 GB\n")
    assert not cache_dir.exists()


def test_it_shows_what_is_there_and_clears_it(perago, cache_dir, monkeypatch):
    monkeypatch.setenv("PERAGO_CACHE_MAX_SIZE", "2GB")
    fill(cache_dir, 3)
    assert perago("cache").out == f"{cache_dir}: 3 objects, 12.0 KB of at most 2.0 GB\n"
    told = {"directory": str(cache_dir), "entries": 3, "bytes": 12288, "max_bytes": 2 << 30, "removed": None}
    assert perago("cache", "--json").json == told
    cleared = perago("cache", "--clear", "--json").json
    assert cleared == told | {"entries": 0, "bytes": 0, "removed": {"entries": 3, "bytes": 12288}}
    fill(cache_dir, 1)
    assert perago("cache", "--clear").out.splitlines() == [
        "Removed 1 object, 4.0 KB",
        f"{cache_dir}: 0 objects, 0 B of at most 2.0 GB",
    ]


def test_a_cache_that_was_switched_off_says_so_and_can_be_cleared(perago, cache_dir, monkeypatch):
    fill(cache_dir, 2)
    monkeypatch.setenv("PERAGO_CACHE_MAX_SIZE", "0")
    assert perago("cache").out == f"{cache_dir}: 2 objects, 8.0 KB and it is off (PERAGO_CACHE_MAX_SIZE=0)\n"
    assert "Removed 2 objects" in perago("cache", "--clear").out
    assert perago("cache", "--json").json["entries"] == 0


def test_something_else_in_its_place_is_an_error_of_the_settings(perago, cache_dir):
    cache_dir.mkdir()
    (cache_dir / "objects-1").write_bytes(b"")
    said = perago("cache")
    assert said.code == 2
    assert f"PERAGO_CACHE_DIR: {cache_dir}/objects-1 is not a directory" in said.err.replace("\n", " ")
