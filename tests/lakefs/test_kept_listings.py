"""Listings that this host keeps: who needs no listing, who asks for the differences, and that nobody gets another one."""

import contextlib

import pytest

from perago.stores.lakefs.listing import list_files
from perago.values.history import Publish
from perago.values.spec import WorkspaceSpec
from perago.workspace.cache import ObjectCache
from publication_support import recorded_calls

MANY = 2300
"""Objects, for three calls of a listing."""

ALL = WorkspaceSpec()


class Host:
    """A bench on a host with a cache, and what its store lists."""

    def __init__(self, bench, cache):
        self.bench, self.cache = bench, cache
        self.connection = bench.store._connection

    @property
    def listings(self):
        return self.connection._listings

    def settle(self):
        """Wait until nothing is being kept."""
        self.connection.run(self.listings.settled())

    def objects(self, ref, spec=ALL):
        """What a layout gets, and the calls that this takes: (objects, listings, differences, looks at objects)."""
        with recorded_calls() as calls:
            _, layout = self.connection.run(self.bench.store._plan_layout(self.bench.input(ref), spec))
        self.settle()
        listed = sum(call.endswith("objects/ls") for call in calls)
        compared = sum("/diff/" in call for call in calls)
        looked = sum(call.endswith("objects/stat") for call in calls)
        return layout.files, (listed, compared, looked)

    def listed(self, ref, spec=ALL):
        """What the server lists."""
        name = self.bench.hooks.name
        return self.connection.run(list_files(self.connection.client, name, ref, spec))

    def publish(self, base, files, spec=ALL):
        """An attempt that lays out, changes and publishes; returns the published commit."""
        work = self.bench.lay_out(base, spec)
        self.settle()
        work.edit(files)
        ref = self.bench.stage(work, Publish(base)).finish()
        self.settle()
        return ref


@pytest.fixture
def make_host(make_bench, lakefs_server, tmp_path):
    with contextlib.ExitStack() as opened:

        def make(server=lakefs_server, cache_bytes=1 << 30, **options):
            cache = opened.enter_context(ObjectCache(tmp_path / "cache", cache_bytes))
            return Host(make_bench(server, cache=cache, **options), cache)

        yield make


@pytest.fixture
def host(make_host):
    return make_host()


def many(count=MANY, prefix="d/"):
    return {f"{prefix}{number:05}": b"%d" % number for number in range(count)}


def test_an_attempt_on_what_this_host_has_published_lists_nothing(host):
    base = host.bench.commit({**many(), "_x": b"1", "z/last": b"2"})
    first = host.publish(base, {"d/00001": b"changed", "d/00002": None, "new/a": b"new", "z/last": b"changed too"})
    files, calls = host.objects(first)
    assert calls == (0, 0, 0)
    assert files == host.listed(first)
    second = host.publish(first, {"new/a": b"newer", "e": b""})
    files, calls = host.objects(second)
    assert calls == (0, 0, 0)
    assert files == host.listed(second)
    assert host.objects(base) == (host.listed(base), (0, 0, 0))
