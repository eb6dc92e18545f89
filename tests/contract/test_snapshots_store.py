"""A store that Perago does not bring passes the suite: one can be written against the ports alone."""

import pytest

from perago.ports import Repository
from perago.stores.provider import OpenedStore, RepositoryAddress, StoreProvider
from snapshots import OpenedSnapshots, SnapshotAddress, SnapshotProvider, SnapshotStore
from tests.contract import test_memory_store


class TestSnapshotStore(test_memory_store.TestMemoryStore):
    """What people do to it is done as to the store in memory, and kept on disk."""

    def make_store(self, directory):
        return SnapshotStore(directory / self.repository(None))

    def files(self, store, ref):
        return {path: store.find_file(ref, path).read() for path in store.files(ref, "/")}


@pytest.mark.parametrize(
    ("given", "port"),
    [
        (SnapshotProvider, StoreProvider),
        (SnapshotAddress, RepositoryAddress),
        (OpenedSnapshots, OpenedStore),
        (SnapshotStore, Repository),
    ],
)
def test_it_has_everything_that_its_ports_ask_for(given, port):
    asked = {name for name in dir(port) if not name.startswith("_")}
    assert asked - set(dir(given)) == set()
