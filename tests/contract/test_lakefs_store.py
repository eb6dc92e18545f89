"""The lakeFS store passes the suite on a real server; what people do, and every look at the outcome, is plain HTTP."""

import pytest

from perago.testing.contract import (
    CompletingStoreContract,
    ReusableStoreContract,
    StoreContract,
    TransactionalStoreContract,
)
from servers.fixtures import repository_on
from servers.lakefs_hooks import LakeFSHooks, store_on


class TestLakeFSStore(
    LakeFSHooks, StoreContract, TransactionalStoreContract, ReusableStoreContract, CompletingStoreContract
):
    @pytest.fixture(autouse=True)
    def on_a_repository(self, lakefs_server):
        """A store and a repository for each test; at the end nothing uncommitted lies on the target."""
        self.server = lakefs_server
        with repository_on(lakefs_server) as repository, store_on(lakefs_server) as store:
            self.name, self.store = repository.name, store
            yield
            assert repository.expect("GET", "/branches/main/diff")["results"] == []

    def person_merges(self, store, source, branch):
        with self.raw() as repository:
            merged = repository.merge(source, branch)
            assert merged.status == 200
            repository.delete_branch(source)
            return merged.json()["reference"]

    def opened_again(self, store):
        return store_on(self.server)
