"""A store that Perago does not bring passes the suite: one can be written against the ports alone."""

from snapshots import SnapshotStore
from tests.contract import test_memory_store


class TestSnapshotStore(test_memory_store.TestMemoryStore):
    """What people do to it is done as to the store in memory, and kept on disk."""

    def make_store(self, directory):
        return SnapshotStore(directory / self.repository(None))

    def files(self, store, ref):
        return {path: store.find_file(ref, path).read() for path in store.files(ref, "/")}
