"""The lakeFS store passes the suite on a real server; what people do, and every look at the outcome, is plain HTTP."""

import pytest

from perago.stores.lakefs import LakeFSStore
from perago.testing.contract import StoreContract
from servers.fixtures import repository_on
from servers.lakefs_api import LakeFSRepository

ACTIONS = "_lakefs_actions/"


class TestLakeFSStore(StoreContract):
    rounds = 8  # tests/lakefs races more
    unknown_commit = "0123456789abcdef" * 4

    @pytest.fixture(autouse=True)
    def server(self, lakefs_server):
        """A store and a repository for each test."""
        self._server = lakefs_server
        with (
            repository_on(lakefs_server) as repository,
            LakeFSStore(
                endpoint_url=lakefs_server.url,
                access_key_id=lakefs_server.access_key_id,
                secret_access_key=lakefs_server.secret_access_key,
            ) as store,
        ):
            self._name, self._store = repository.name, store
            yield

    @pytest.fixture(autouse=True)
    def consistent(self, server, bench):
        """Every commit on the target still reads whole afterwards, and nothing uncommitted lies on it."""
        yield
        with self._repository() as repository:
            assert repository.expect("GET", "/branches/main/diff")["results"] == []
            repository.files("main")

    def make_store(self, directory):
        return self._store

    def person_commits(self, store, branch, files):
        with self._repository() as repository:
            if repository.call("GET", f"/branches/{branch}").status == 404:
                root = repository.line("main")[-1]
                repository.branch(branch, root)
            return repository.commit_files(branch, files)

    def copy_commit(self, store, commit, branch):
        with self._repository() as repository:
            found = repository.show(commit)
            parent = found["parents"][0]
            changed = repository.expect("GET", f"/refs/{parent}/diff/{commit}", query={"type": "two_dot"})["results"]
            for entry in changed:
                if entry["type"] == "removed":
                    repository.delete(branch, entry["path"])
                else:
                    source = {"src_path": entry["path"], "src_ref": commit}
                    query = {"dest_path": entry["path"]}
                    repository.expect("POST", f"/branches/{branch}/objects/copy", query=query, data=source)
            metadata = {key: value for key, value in found["metadata"].items() if not key.startswith(".lakefs")}
            return repository.commit(branch, found["message"], metadata, allow_empty=True)["id"]

    def head(self, store, branch):
        with self._repository() as repository:
            return repository.head(branch)

    def first_parent_line(self, store, branch):
        """Without the empty commit that every repository begins with."""
        with self._repository() as repository:
            return repository.line(branch)[:-1]

    def files(self, store, ref):
        with self._repository() as repository:
            found = repository.files(ref)
        return {path: content for path, content in found.items() if not path.startswith(ACTIONS)}

    def staged(self, store):
        with self._repository() as repository:
            return repository.branches("perago-", hidden=True)

    def without_repository(self, store, directory):
        return store, "no-such-repository"

    def repository(self, store):
        return self._name

    def _repository(self):
        return _Repository(self._server, self._name)


class _Repository:
    """Calls on the repository by a connection of their own: the suite calls from several threads."""

    def __init__(self, server, name):
        self._api, self._name = server.api(), name

    def __enter__(self):
        return LakeFSRepository(self._api, self._name)

    def __exit__(self, *_):
        self._api.close()
