"""The contract suite's hooks for a lakeFS: actions of people and inspections use plain HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perago.ports import WorkspaceStore
from perago.stores.lakefs import LakeFSStore
from perago.testing.contract.bench import Edits, StoreHooks
from perago.values.history import Stamp
from perago.values.models import RUN_PREFIX
from perago.values.stamps import to_pairs
from servers.fixtures import LakeFS
from servers.lakefs_api import LakeFSRepository

ACTIONS = "_lakefs_actions/"
STAGING = "perago-"


def store_on(server: LakeFS, url: str | None = None, **options: Any) -> LakeFSStore:
    """A store with a server's key. `url`: a proxy in front of it."""
    return LakeFSStore(
        endpoint_url=url or server.url,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        **options,
    )


class LakeFSHooks(StoreHooks):
    """Hooks for one repository of a server. Set `server`, `name` and `store` before the first test step."""

    holds_signs_of_directories = True
    rounds = 8  # tests/lakefs races more
    unknown_commit = "0123456789abcdef" * 4
    server: LakeFS
    name: str
    store: LakeFSStore

    @contextlib.contextmanager
    def raw(self) -> Iterator[LakeFSRepository]:
        """The repository on a new connection: steps run in several threads."""
        with self.server.api() as api:
            yield LakeFSRepository(api, self.name)

    def make_store(self, directory: Path) -> WorkspaceStore:
        return self.store

    def person_commits(self, store: Any, branch: str, files: Edits) -> str:
        with self.raw() as repository:
            if repository.call("GET", f"/branches/{branch}").status == 404:
                repository.branch(branch, repository.line("main")[-1])
            return repository.commit_files(branch, files)

    def copy_commit(self, store: Any, commit: str, branch: str) -> str:
        with self.raw() as repository:
            found = repository.show(commit)
            query = {"type": "two_dot"}
            diff = repository.expect("GET", f"/refs/{found['parents'][0]}/diff/{commit}", query=query)
            for entry in diff["results"]:
                if entry["type"] == "removed":
                    repository.delete(branch, entry["path"])
                else:
                    source = {"src_path": entry["path"], "src_ref": commit}
                    query = {"dest_path": entry["path"]}
                    repository.expect("POST", f"/branches/{branch}/objects/copy", query=query, data=source)
            metadata = {key: value for key, value in found["metadata"].items() if not key.startswith(".lakefs")}
            return str(repository.commit(branch, found["message"], metadata, allow_empty=True)["id"])

    def forge_seal(self, store: Any, branch: str, files: Edits, stamp: Stamp) -> str:
        with self.raw() as repository:
            drafted = head = repository.head(branch)
            if files:
                drafted = repository.commit_files(repository.branch("forging", branch), files)
            content = repository.show(drafted)["meta_range_id"]
            claims = {**to_pairs(stamp), "empty": "true", "content": content, "expected_parent": head}
            query = {"source_metarange": content} if files else {"allow_empty": True}
            metadata = {f"perago.{name}": value for name, value in claims.items() if value}
            return str(repository.commit(branch, "sealed", metadata, **query)["id"])

    def head(self, store: Any, branch: str) -> str:
        with self.raw() as repository:
            return repository.head(branch)

    def first_parent_line(self, store: Any, branch: str) -> list[str]:
        """Without the first, empty commit of every repository."""
        with self.raw() as repository:
            return repository.line(branch)[:-1]

    def files(self, store: Any, ref: str) -> dict[str, bytes]:
        """Without the server's actions, which are not in workspaces."""
        with self.raw() as repository:
            found = repository.files(ref)
        return {path: content for path, content in found.items() if not path.startswith(ACTIONS)}

    def staged(self, store: Any) -> list[str]:
        with self.raw() as repository:
            return [name for name in repository.branches(STAGING, hidden=True) if not name.startswith(RUN_PREFIX)]

    def without_repository(self, store: Any, directory: Path) -> tuple[WorkspaceStore, str]:
        return self.store, "no-such-repository"

    def repository(self, _store: Any, /) -> str:
        return self.name
