"""Listings that are kept or made of others are those of the server, whatever happened: against a server in memory."""

import asyncio
import os
import random
from collections import Counter
from unittest.mock import patch

import pytest

from cache_support import entry_files
from perago.stores.lakefs.api.answers import DiffEntry, LakeFSError, ObjectStats, ServerFacts
from perago.stores.lakefs.content.kept_listings import KeptListings, Listing, ListingKey
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.listing import find_files, is_shorter, keep_published, list_files
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache

PAGE = 6
AT_ONCE = 3
SPECS = [
    WorkspaceSpec(),
    WorkspaceSpec(prefix="d"),
    WorkspaceSpec(prefix="d/e"),
    WorkspaceSpec(include=("d/*", "f*")),
    WorkspaceSpec(exclude=("**/*.x",)),
    WorkspaceSpec(prefix="d", include=("e/*", "f.x"), exclude=("e/1*",)),
]
NAMES = [
    *(f"{directory}{name}{end}" for directory in ("", "d/", "d/e/", "ö/") for name in "123fgh" for end in ("", ".x")),
    "d",
    "d.",
    "d/",
    "d/e/",
    "_lakefs_actions/a.yaml",
]


class Server:
    """Commits in memory: object by name. `faults` has the numbers of calls, besides listings, that go wrong."""

    root = "http://lakefs"

    def __init__(self, rng):
        self.rng = rng
        self.commits = {"0": {}}
        self.calls = Counter()
        self.faults = set()

    def commit(self, parent, changes):
        """As lakeFS does: an object without a change keeps its address."""
        made = dict(self.commits[parent])
        for name, stats in changes.items():
            if stats is None:
                made.pop(name, None)
            elif name not in made or made[name][2:] != stats[2:]:
                made[name] = stats
        return self.add(made)

    def add(self, objects):
        name = str(len(self.commits))
        self.commits[name] = objects
        return name

    def objects(self, commit, prefix):
        found = [stats for name, stats in self.commits[commit].items() if name.startswith(prefix)]
        return sorted(found, key=lambda stats: stats.path.encode())

    async def list_objects(self, _repository, commit, *, prefix):
        found = self.objects(commit, prefix)
        for start in range(0, max(len(found), 1), PAGE):
            self.calls["list"] += 1
            yield found[start : start + PAGE]

    async def diff_refs(self, _repository, left, right, *, prefix):
        self.calls["diff"] += 1
        before, after = ({stats.path: stats for stats in self.objects(commit, prefix)} for commit in (left, right))
        found = []
        for name in sorted(before.keys() | after.keys(), key=str.encode):
            was, now = before.get(name), after.get(name)
            if was is None or now is None or was[2:] != now[2:]:
                kind = "added" if was is None else "removed" if now is None else "changed"
                found.append(DiffEntry(name, kind, (now or was).size))
        if self._strikes():
            found.append(self.rng.choice([DiffEntry("a\ufffd", "removed", 1), DiffEntry("d", "conflict", 1)]))
        for start in range(0, max(len(found), 1), PAGE):
            yield found[start : start + PAGE]

    async def stat_object(self, _repository, commit, path):
        self.calls["stat"] += 1
        if self._strikes():
            raise LakeFSError("statObject", "here", status=404, message="not found")
        return self.commits[commit][path]

    def _strikes(self):
        return self.calls["diff"] + self.calls["stat"] in self.faults


class World:
    def __init__(self, seed, directory):
        self.rng = random.Random(seed)
        self.server = Server(self.rng)
        self.uploaded = {}
        self.cache = ObjectCache(directory / str(seed), 1 << 30)
        self.restart()

    def restart(self):
        self.kept = KeptListings(self.cache)
        facts = ServerFacts("", "local", False, False)
        self.transfer = Transfer(self.server, None, "data", facts, self.cache, listings=self.kept)

    def changes(self):
        names = self.rng.sample(NAMES, self.rng.choice([0, 1, 2, 2, 3, 4, 10, 30]))
        return {name: None if self.rng.random() < 0.4 else self.upload(name) for name in names}

    def upload(self, name):
        size = 0 if name.endswith("/") and self.rng.random() < 0.7 else self.rng.randrange(1, 3)
        address = f"a/{len(self.uploaded)}"
        self.uploaded[address] = (name, size)
        return ObjectStats(name, address, str(size), size, self.rng.random() < 0.2)

    def content(self, stats):
        """An object with what is at its address. The server's differences do not tell of another address only."""
        return stats._replace(physical_address=self.uploaded[stats.physical_address])

    def damage(self):
        for path in entry_files(self.cache):
            if self.rng.random() < 0.5:
                content = bytearray(path.read_bytes())
                content[self.rng.randrange(len(content))] ^= 1
                path.write_bytes(content)

    def step(self, commit):
        """Something happens to a commit; returns the next one to look at."""
        rng, server = self.rng, self.server
        match rng.randrange(6):
            case 0:
                return rng.choice([*server.commits])
            case 1:
                return server.commit(commit, self.changes())
            case 2:
                self.restart()
            case 3:
                self.damage()
            case 4:
                calls = server.calls["diff"] + server.calls["stat"]
                server.faults = {calls + rng.randrange(1, 6)}
            case 5:
                changes = {name: stats for name, stats in self.changes().items() if not name.startswith("_")}
                made = server.commit(commit, changes)
                spec = rng.choice(SPECS)
                keep_published(self.transfer, spec, (commit, made), changes)
                return made
        return commit

    async def run(self, steps):
        commit = self.server.commit("0", {name: self.upload(name) for name in NAMES})
        for _ in range(steps):
            commit = self.step(commit)
            await self.kept.settled()
            spec = self.rng.choice(SPECS)
            listed = await list_files(self.server, "data", commit, spec)
            found = await find_files(self.transfer, commit, spec)
            assert [self.content(stats) for stats in found] == [self.content(stats) for stats in listed]
            await self.kept.settled()


@pytest.mark.property
def test_every_listing_is_that_of_the_server(tmp_path):
    first = int.from_bytes(os.urandom(4))
    with patch.multiple("perago.stores.lakefs.listing", PAGE=PAGE, AT_ONCE=AT_ONCE):
        calls = Counter()
        for seed in range(first, first + 12):
            world = World(seed, tmp_path)
            try:
                asyncio.run(world.run(60))
            except AssertionError as exc:
                raise AssertionError(f"seed {seed}") from exc
            calls += world.server.calls
    assert min(calls["diff"], calls["stat"]) > 20  # each way was taken


@pytest.mark.parametrize(
    ("changed", "calls", "shorter"),
    [(0, 1, False), (0, 2, True), (1, 2, False), (1, 3, True), (16, 3, True), (17, 3, False), (17, 4, True)],
)
def test_differences_are_asked_for_if_that_takes_fewer_calls_in_a_row(changed, calls, shorter):
    assert is_shorter(changed, calls) is shorter


def test_who_knows_nothing_makes_no_call_more(tmp_path):
    world = World(1, tmp_path)
    commit = world.server.commit("0", {name: world.upload(name) for name in NAMES})
    asyncio.run(list_files(world.server, "data", commit, SPECS[0]))
    cold = world.server.calls.copy()
    asyncio.run(find_files(world.transfer, commit, SPECS[0]))
    assert world.server.calls == cold + cold


def test_an_attempt_that_follows_at_once_waits_for_the_listing_that_is_being_kept(tmp_path):
    world = World(1, tmp_path)
    commit = world.server.commit("0", {name: world.upload(name) for name in NAMES})
    changes = {"1": world.upload("1")._replace(checksum="other")}

    async def attempts():
        await find_files(world.transfer, commit, SPECS[0])
        published = world.server.commit(commit, changes)
        keep_published(world.transfer, SPECS[0], (commit, published), changes)
        return [await find_files(world.transfer, commit, SPECS[0]) for commit in (published, commit)], published

    (after, before), published = asyncio.run(attempts())
    assert world.server.calls == Counter(list=-(-len(NAMES) // PAGE))
    assert after == asyncio.run(list_files(world.server, "data", published, SPECS[0]))
    assert before == asyncio.run(list_files(world.server, "data", commit, SPECS[0]))


def test_a_listing_that_this_version_did_not_write_is_listed_again(tmp_path):
    world = World(1, tmp_path)
    commit = world.server.commit("0", {name: world.upload(name) for name in NAMES})
    later = world.server.commit(commit, {"1": None})

    async def attempts():
        files = await find_files(world.transfer, commit, SPECS[0])
        await world.kept.settled()
        key = ListingKey(Server.root, "data", commit, "", (), ())
        world.cache.remove(key.entry)
        world.kept.keep(key, Listing(9, b"9\nno record\xff"))
        assert await find_files(world.transfer, commit, SPECS[0]) == files
        assert await find_files(world.transfer, later, SPECS[0]) == await list_files(
            world.server, "data", later, SPECS[0]
        )

    asyncio.run(attempts())
