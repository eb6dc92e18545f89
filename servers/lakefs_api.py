"""lakeFS by plain HTTP, for tests that inspect a server without the client under test. Allows any object name."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from servers.json_api import Answer, ApiError, Json, JsonApi

__all__ = ["Answer", "ApiError", "LakeFSApi", "LakeFSRepository"]

PAGE = 1_000
"""Maximum size of one page of a listing and of one bulk deletion."""


class LakeFSApi(JsonApi):
    """One connection to one server; for one thread. A context manager.

    Args:
        url: such as http://127.0.0.1:8000, of the server or of a proxy in front of it.
    """

    def __init__(self, url: str, access_key_id: str, secret_access_key: str) -> None:
        pair = base64.b64encode(f"{access_key_id}:{secret_access_key}".encode()).decode()
        super().__init__(url, "/api/v1", {"Authorization": f"Basic {pair}"})

    def create_repository(self, name: str, storage_namespace: str) -> LakeFSRepository:
        """Create a repository with an empty first commit on `main`."""
        data = {"name": name, "storage_namespace": storage_namespace, "default_branch": "main"}
        self.expect("POST", "/repositories", data=data)
        return LakeFSRepository(self, name)


class LakeFSRepository:
    """Calls for one repository. Except for `call`, they raise ApiError if the server refuses."""

    def __init__(self, api: LakeFSApi, name: str) -> None:
        self.api = api
        self.name = name

    def call(self, method: str, path: str, **arguments: Any) -> Answer:
        return self.api.call(method, f"/repositories/{self.name}{path}", **arguments)

    def expect(self, method: str, path: str, **arguments: Any) -> Any:
        return self.api.expect(method, f"/repositories/{self.name}{path}", **arguments)

    # ---- objects

    def put(
        self,
        branch: str,
        path: str | bytes,
        content: bytes | Iterator[bytes],
        metadata: Mapping[str, str] | None = None,
    ) -> Json:
        """Upload an object with any name, uncommitted; returns the server's description."""
        headers = {f"x-lakefs-meta-{name}": value for name, value in (metadata or {}).items()}
        headers["Content-Type"] = "application/octet-stream"
        made: Json = self.expect(
            "POST", f"/branches/{branch}/objects", query={"path": path}, body=content, headers=headers
        )
        return made

    def get(self, ref: str, path: str | bytes) -> bytes:
        answer = self.call("GET", f"/refs/{ref}/objects", query={"path": path})
        if answer.status != 200:
            raise ApiError(f"GET {path!r} at {ref}", answer)
        return answer.body

    def stat(self, ref: str, path: str | bytes) -> Json:
        found: Json = self.expect("GET", f"/refs/{ref}/objects/stat", query={"path": path})
        return found

    def delete(self, branch: str, *paths: str) -> None:
        for some in _batches(paths):
            answer = self.expect("POST", f"/branches/{branch}/objects/delete", data={"paths": list(some)})
            assert not answer["errors"], answer

    def objects(self, ref: str, prefix: str = "") -> list[Json]:
        """All objects of a ref, including uncommitted ones of a branch."""
        return list(self._pages(f"/refs/{ref}/objects/ls", {"prefix": prefix}))

    def files(self, ref: str, prefix: str = "") -> dict[str, bytes]:
        """Name -> content."""
        return {found["path"]: self.get(ref, found["path"]) for found in self.objects(ref, prefix)}

    # ---- branches and commits

    def head(self, branch: str) -> str:
        """Id of the commit that a branch points at."""
        found: Json = self.expect("GET", f"/branches/{branch}")
        return str(found["commit_id"])

    def branch(self, name: str, source: str, *, hidden: bool = False) -> str:
        """Create a branch; returns its name."""
        self.expect("POST", "/branches", data={"name": name, "source": source, "hidden": hidden})
        return name

    def branches(self, prefix: str = "", *, hidden: bool = False) -> list[str]:
        return [found["id"] for found in self._pages("/branches", {"prefix": prefix, "show_hidden": hidden})]

    def delete_branch(self, name: str) -> None:
        self.expect("DELETE", f"/branches/{name}")

    def commit(
        self, branch: str, message: str = "by hand", metadata: Mapping[str, str] | None = None, **query: Any
    ) -> Json:
        """Commit what is uncommitted; returns the commit. `query` may have source_metarange, allow_empty and date."""
        data = {"message": message, "metadata": dict(metadata or {})}
        data |= {name: query.pop(name) for name in ("allow_empty", "date") if name in query}
        made: Json = self.expect("POST", f"/branches/{branch}/commits", data=data, query=query)
        return made

    def commit_files(
        self, branch: str, files: Mapping[str, bytes | None], metadata: Mapping[str, str] | None = None
    ) -> str:
        """Commit files without Perago; None deletes a file. Returns the id."""
        for path, content in files.items():
            if content is not None:
                self.put(branch, path, content)
        self.delete(branch, *(path for path, content in files.items() if content is None))
        return str(self.commit(branch, metadata=metadata)["id"])

    def show(self, ref: str) -> Json:
        """The server's description of a commit."""
        found: Json = self.expect("GET", f"/commits/{ref}")
        return found

    def log(self, ref: str, **query: Any) -> list[Json]:
        """First-parent commits from a ref to the root."""
        return list(self._pages(f"/refs/{ref}/commits", {"first_parent": True, **query}))

    def line(self, ref: str) -> list[str]:
        """Ids of the first-parent commits from a ref to the root."""
        return [found["id"] for found in self.log(ref)]

    def merge(self, source: str, target: str, metadata: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """Merge; returns the answer, even an error. Options: message, strategy, force, allow_empty, squash_merge."""
        data = {"message": "merged", "metadata": dict(metadata or {}), **options}
        return self.call("POST", f"/refs/{source}/merge/{target}", data=data)

    def runs(self, branch: str) -> list[Json]:
        """Runs of hooks for a branch."""
        return list(self._pages("/actions/runs", {"branch": branch}))

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[Json]:
        after = ""
        while True:
            page = self.expect("GET", path, query={"amount": PAGE, **query, "after": after})
            yield from page["results"]
            pagination = page["pagination"]
            if not pagination["has_more"]:
                return
            assert pagination["next_offset"] != after, "the server repeats a page"
            after = pagination["next_offset"]


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + PAGE] for start in range(0, len(paths), PAGE))
