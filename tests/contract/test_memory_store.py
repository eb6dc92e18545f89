"""The in-memory store passes the suite that it stands in for."""

from perago.testing import MemoryStore
from perago.testing.contract import ReusableStoreContract, StoreContract, TransactionalStoreContract


class TestMemoryStore(StoreContract, TransactionalStoreContract, ReusableStoreContract):
    holds_signs_of_directories = True

    def make_store(self, directory):
        return MemoryStore(self.repository(None))

    def person_commits(self, store, branch, files):
        return store.commit(branch, files)

    def copy_commit(self, store, commit, branch):
        return store.cherry_pick(commit, branch)

    def person_merges(self, store, source, branch):
        merge = store.merge(source, branch)
        store.delete_branch(source)
        return merge

    def forge_seal(self, store, branch, files, stamp):
        return store.commit(branch, files, stamp=stamp)

    def head(self, store, branch):
        return store.head(branch)

    def first_parent_line(self, store, branch):
        return store.history(branch)

    def files(self, store, ref):
        return store.files(ref)

    def staged(self, store):
        return store.staged()

    def without_repository(self, store, directory):
        return store, "elsewhere"
