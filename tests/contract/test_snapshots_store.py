"""A store that Perago does not bring passes the suite: one can be written against the ports alone."""

from perago.testing.contract import StoreContract, TransactionalStoreContract
from snapshots import SnapshotStore


class TestSnapshotStore(StoreContract, TransactionalStoreContract):
    holds_signs_of_directories = True

    def make_store(self, directory):
        return SnapshotStore(directory / self.repository(None))

    def person_commits(self, store, branch, files):
        return store.commit(branch, files)

    def copy_commit(self, store, commit, branch):
        return store.cherry_pick(commit, branch)

    def forge_seal(self, store, branch, files, stamp):
        return store.commit(branch, files, stamp=stamp)

    def head(self, store, branch):
        return store.head(branch)

    def first_parent_line(self, store, branch):
        return store.history(branch)

    def files(self, store, ref):
        return {path: store.find_file(ref, path).read() for path in store.files(ref, "/")}

    def staged(self, store):
        return store.staged()

    def without_repository(self, store, directory):
        return store, "elsewhere"
