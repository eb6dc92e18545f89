"""Listings on the disk: what comes back, what is not kept, and how much is."""

import asyncio
import hashlib
import tracemalloc
from functools import partial
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_support import entry_files, home, partial_files
from perago.stores.lakefs.api.answers import ObjectStats
from perago.stores.lakefs.content import kept_listings
from perago.stores.lakefs.content.kept_listings import KEPT, SMALL_KEPT, Base, KeptListings, Listing, ListingKey
from perago.workspace.cache import ObjectCache

NAME = st.text(st.characters(exclude_characters="\0\ufffd", exclude_categories=("Cs",)), min_size=1)
OBJECTS = st.dictionaries(
    NAME, st.tuples(st.text("abc/:é"), st.text("0123456789abcdef-"), st.integers(0, 2**63), st.booleans())
)


def stats_of(objects):
    """In the server's order."""
    return tuple(ObjectStats(name, *objects[name]) for name in sorted(objects, key=str.encode))


def files(count, seed=""):
    names = [f"d/{number:06}" for number in range(count)]
    return tuple(ObjectStats(name, f"a/{seed}{name}", hashlib.md5(name.encode()).hexdigest(), 7) for name in names)


def key(commit, **fields):
    return ListingKey("http://lakefs", "data", commit, "", (), ())._replace(**fields)


def keep_beside(kept, of, make):
    async def keep():
        kept.begin_keeping(of, make)
        await kept.settled()

    asyncio.run(keep())


@pytest.fixture
def cache(tmp_path):
    with ObjectCache(tmp_path / "cache", 1 << 30) as cache:
        yield cache


@pytest.fixture
def kept(cache):
    return KeptListings(cache)


@given(OBJECTS, st.integers(2, 10**6))
def test_a_listing_comes_back_as_it_was(objects, calls):
    made = Listing.of(stats_of(objects), calls)
    read = Listing.read(made.data)
    assert (read.files(), read.calls) == (stats_of(objects), calls)


@given(OBJECTS, OBJECTS, st.sets(NAME))
def test_a_changed_listing_is_that_of_the_changed_objects(objects, put, deleted):
    gone = deleted | set(list(objects)[::3])
    changes = dict.fromkeys(gone) | {stats.path: stats for stats in stats_of(put)}
    changed = Listing.of(stats_of(objects), 2).changed(changes)
    assert changed.files() == stats_of({name: objects[name] for name in objects.keys() - gone} | put)
    assert all(changed.find(stats.path) == stats for stats in changed.files())
    assert all(changed.find(name) is None for name in gone - put.keys())


def test_names_that_the_server_could_mean_otherwise_are_not_kept(kept):
    for names in (["b", "a"], ["a", "a"], ["a\0b"], ["a\ufffd"], ["\ud800"]):
        objects = [ObjectStats(name, "x", "y", 1) for name in names]
        with pytest.raises(ValueError):
            Listing.of(objects, 2)
        keep_beside(kept, key("1"), partial(Listing.of, objects, 2))
        assert kept.find(key("1")) is None
        assert kept.base(key("2")) is None


def test_another_process_finds_it_for_this_selection_of_this_commit_only(kept, cache):
    kept.keep(key("1"), Listing.of(files(10), 2))
    other = KeptListings(cache)
    assert other.find(key("1")).files() == files(10)
    assert other.base(key("2")) == Base("1", 2)
    for fields in ({"server": "http://other"}, {"repository": "b"}, {"root": "d/"}, {"include": ("d",)}):
        assert other.find(key("1", **fields)) is None
        assert other.base(key("2", **fields)) is None
    assert other.find(key("1", include=("a",))) is other.find(key("1", exclude=("a",))) is None


def test_the_newest_of_a_selection_stay(kept, cache):
    for number in range(KEPT + 3):
        kept.keep(key(str(number)), Listing.of(files(10, str(number)), 2))
    known = [number for number in range(KEPT + 3) if kept.find(key(str(number)))]
    assert known == list(range(3, KEPT + 3))
    assert len(entry_files(cache)) == KEPT + 1
    kept.keep(key("3"), Listing.of(files(10, "3"), 2))
    assert kept.base(key("new")) == Base("3", 2)
    assert len(entry_files(cache)) == KEPT + 1


def test_one_that_is_large_for_the_cache_is_not_kept(tmp_path):
    with ObjectCache(tmp_path / "small", 1 << 20) as cache:
        kept = KeptListings(cache)
        kept.keep(key("1"), Listing.of(files(2000), 2))
        assert kept.find(key("1")) is None
        assert entry_files(cache) == []


def test_the_cache_removes_them_when_it_is_full_and_counts_them(kept, cache):
    kept.keep(key("1"), Listing.of(files(1000), 2))
    assert cache.usage().entries == 2
    assert cache.clear().entries == 2
    assert kept.find(key("1")) is None
    assert kept.base(key("2")) is None


def test_small_ones_stay_in_memory_and_only_a_few_of_them(kept, cache):
    for number in range(SMALL_KEPT + 2):
        kept.keep(key(str(number)), Listing.of(files(3), 1))
    assert [number for number in range(SMALL_KEPT + 2) if kept.find(key(str(number)))] == list(range(2, SMALL_KEPT + 2))
    assert not home(cache).exists()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"3\na\0b", b"x\na\0\0\x000\x000\xff"])
def test_what_is_no_listing_is_removed(kept, cache, content):
    kept.keep(key("1"), Listing.of(files(10), 2))
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert cache.replace(key("1").entry, content, digest)
    assert cache.replace(key("1").selection, content, digest)
    assert kept.find(key("1")) is None
    assert cache.read(key("1").entry) is None
    assert kept.base(key("2")) is None
    kept.keep(key("1"), Listing.of(files(10), 2))
    assert kept.find(key("1")).files() == files(10)
    assert kept.base(key("2")) == Base("1", 2)


def test_a_disk_that_refuses_is_a_miss(kept, cache):
    def refuse(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with patch("perago.workspace.cache.objects.write_entry", refuse):
        keep_beside(kept, key("1"), lambda: Listing.of(files(10), 2))
    assert kept.find(key("1")) is None
    assert partial_files(cache) == []
    keep_beside(kept, key("1"), lambda: Listing.of(files(10), 2))
    assert kept.find(key("1")) is not None


def test_only_a_few_wait_and_each_is_kept_after_the_other(kept):
    begun = []

    def make(number):
        begun.append(number)
        return Listing.of(files(10), 2)

    async def keep():
        for number in range(10):
            kept.begin_keeping(key(str(number)), lambda number=number: make(number))
        await kept.settled()

    asyncio.run(keep())
    assert begun == list(range(kept_listings._WAITING))  # noqa: SLF001 - the limit


def test_nothing_to_keep_is_fine(kept, cache):
    keep_beside(kept, key("1"), lambda: None)
    assert not home(cache).exists()


def test_a_fork_waits_for_nothing_that_its_parent_keeps(kept):
    async def begin():
        kept.begin_keeping(key("1"), lambda: Listing.of(files(10), 2))

    parent = asyncio.new_event_loop()
    try:
        parent.run_until_complete(begin())
        asyncio.run(asyncio.wait_for(kept.settled(), 10))
        parent.run_until_complete(kept.settled())
    finally:
        for task in asyncio.all_tasks(parent):
            task.cancel()
            parent.run_until_complete(asyncio.wait([task]))
        parent.close()


def test_a_publication_takes_no_listing_apart(kept):
    """Its memory: what is read and what is written, of a hundred bytes for each object."""
    kept.keep(key("1"), Listing.of(files(20_000), 20))
    size = len(kept.find(key("1")).data)
    (changed,) = files(1, "other")
    tracemalloc.start()
    try:
        keep_beside(kept, key("2"), lambda: kept.find(key("1")).changed({changed.path: changed}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.find(key("2")).find(changed.path) == changed
    assert peak < 3 * size
