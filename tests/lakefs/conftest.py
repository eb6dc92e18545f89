"""Tests against a real lakeFS; its fixtures are in servers/fixtures.py."""

import contextlib

import pytest

from publication_support import LakeFSBench
from servers.fixtures import repository_on
from servers.lakefs_hooks import LakeFSHooks, store_on
from servers.proxy import FaultProxy


@pytest.fixture
def make_bench(tmp_path):
    """Makes benches: steps of attempts, on a repository and a store of their own on a server.

    `make_bench(server, proxied=True)` puts a fault proxy between the two; other options are the store's.
    """
    with contextlib.ExitStack() as opened:

        def make(server, *, proxied=False, **options):
            hooks = LakeFSHooks()
            hooks.server = server
            hooks.name = opened.enter_context(repository_on(server)).name
            proxy = opened.enter_context(FaultProxy(server.url)) if proxied else None
            hooks.store = opened.enter_context(store_on(server, proxy.url if proxy else None, **options))
            directory = tmp_path / hooks.name
            directory.mkdir()
            return LakeFSBench(hooks, directory, proxy)

        yield make


@pytest.fixture
def bench(make_bench, lakefs_server):
    """On the session's server."""
    return make_bench(lakefs_server)


@pytest.fixture
def proxied(make_bench, lakefs_server):
    """On the session's server, behind a fault proxy; the store's answers come within seconds."""
    return make_bench(lakefs_server, proxied=True, merge_timeout_seconds=20)
