"""The calls on repositories, branches, commits and hook runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from perago.http.session import Request
from perago.stores.lakefs.api.answers import (
    Branch,
    Commit,
    DiffEntry,
    HookRun,
    LakeFSError,
    RepositoryFacts,
    ServerFacts,
)
from perago.stores.lakefs.api.calls import CALL_SECONDS, PAGE, Api, read, segment

_CONFLICT = 409


class RefCalls(Api):
    """Repositories, branches, commits and their differences, without content. Every call raises `LakeFSError`."""

    async def get_config(self) -> ServerFacts:
        """The server's version and abilities."""
        return await self.get("getConfig", self.url("/config"), ServerFacts.of)

    # ---- repositories

    async def get_repository(self, repository: str) -> RepositoryFacts:
        return await self.get("getRepository", self.url(_repository(repository)), RepositoryFacts.of)

    async def create_repository(
        self, repository: str, storage_namespace: str, *, default_branch: str = "main"
    ) -> RepositoryFacts:
        """Create a repository with one branch at an empty first commit. 409: it exists."""
        body = {"name": repository, "storage_namespace": storage_namespace, "default_branch": default_branch}
        answer = await self.send(
            "createRepository", ("POST", self.url("/repositories"), body), expected=(201,), idempotent=False
        )
        return read("createRepository", answer, RepositoryFacts.of)

    async def get_protected_branches(self, repository: str) -> list[str]:
        """The patterns of branches that are protected from direct changes."""
        path = f"{_repository(repository)}/settings/branch_protection"
        return await self.get(
            "getBranchProtectionRules", self.url(path), lambda rules: [str(rule["pattern"]) for rule in rules]
        )

    # ---- branches and tags

    async def get_branch(self, repository: str, branch: str) -> Branch:
        return await self.get("getBranch", self.url(_branch(repository, branch)), Branch.of)

    async def find_branch(self, repository: str, branch: str) -> Branch | None:
        """The branch, or None if the branch or the repository does not exist."""
        try:
            return await self.get_branch(repository, branch)
        except LakeFSError as exc:
            if exc.status == 404:
                return None
            raise

    async def create_branch(self, repository: str, branch: str, source: str, *, hidden: bool = False) -> None:
        """Create a branch at a commit. An existing branch at the same commit is fine. 409: it is at another commit.

        Args:
            source: full commit id.
        """
        body = {"name": branch, "source": source, "hidden": hidden}
        url = self.url(f"{_repository(repository)}/branches")
        for last in (False, True):
            try:
                await self.send("createBranch", ("POST", url, body), expected=(201,), idempotent=False)
            except LakeFSError as exc:
                if not (exc.is_unclear or exc.status == _CONFLICT):
                    raise
                made = await self.find_branch(repository, branch)
                if made is not None and made.commit_id == source:
                    return
                if last or exc.status == _CONFLICT:
                    raise
            else:
                return

    async def delete_branch(self, repository: str, branch: str) -> bool:
        """Delete a branch with all its content. Returns False if there was none."""
        url = self.url(_branch(repository, branch))
        answer = await self.call("deleteBranch", Request("DELETE", url), expected=(204, 404))
        return answer.status == 204

    async def list_branches(
        self, repository: str, *, prefix: str = "", show_hidden: bool = False
    ) -> AsyncIterator[list[Branch]]:
        """All branches whose names start with `prefix`, in pages."""
        query = {"prefix": prefix or None, "show_hidden": show_hidden}
        async for page in self.pages("listBranches", f"{_repository(repository)}/branches", query, Branch.of):
            yield page

    # ---- commits

    async def get_commit(self, repository: str, commit_id: str) -> Commit:
        """A commit by its id or a unique beginning of one. The server also accepts branch and tag names."""
        url = self.url(f"{_repository(repository)}/commits/{segment(commit_id)}")
        return await self.get("getCommit", url, Commit.of)

    async def log_commits(
        self, repository: str, ref: str, *, stop_at: str | None = None, amount: int = PAGE, first_parent: bool = True
    ) -> AsyncIterator[list[Commit]]:
        """The log of a ref, newest first, in pages of `amount`, down to and including `stop_at`.

        The server walks each page anew from the ref.

        Args:
            first_parent: along first parents; else along all, ordered by the commits' times.
        """
        path = f"{_ref(repository, ref)}/commits"
        query = {"first_parent": first_parent, "stop_at": stop_at, "amount": amount}
        async for page in self.pages("logCommits", path, query, Commit.of):
            yield page

    async def commit(
        self,
        repository: str,
        branch: str,
        message: str,
        metadata: Mapping[str, str],
        *,
        source_metarange: str | None = None,
        allow_empty: bool = False,
    ) -> Commit:
        """Commit what is staged on a branch, or the content of `source_metarange` on top of it.

        Never retried after an unclear answer. 400: nothing to commit.
        """
        url = self.url(f"{_branch(repository, branch)}/commits", {"source_metarange": source_metarange})
        body = {"message": message, "metadata": dict(metadata), "allow_empty": allow_empty}
        answer = await self.send("commit", ("POST", url, body), expected=(201,), idempotent=False)
        return read("commit", answer, Commit.of)

    async def merge(
        self,
        repository: str,
        source: str,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str],
        options: Mapping[str, str | bool] | None = None,
        timeout: float = CALL_SECONDS,
    ) -> str:
        """Merge a ref into a branch. Returns the id of the merge commit. Never retried after an unclear answer.

        409: a conflict. 412: a hook refused. 400: nothing to merge, or the branch has uncommitted changes.

        Args:
            options: further fields of the API: `allow_empty`, `force`, `strategy`, `squash_merge`.
        """
        url = self.url(f"{_ref(repository, source)}/merge/{segment(branch)}")
        body = {"message": message, "metadata": dict(metadata), **(options or {})}
        answer = await self.send(
            "mergeIntoBranch", ("POST", url, body), expected=(200,), idempotent=False, timeout=timeout
        )
        return read("mergeIntoBranch", answer, lambda merged: str(merged["reference"]))

    # ---- differences

    async def diff_refs(
        self, repository: str, left: str, right: str, *, prefix: str = "", stats: bool = False
    ) -> AsyncIterator[list[DiffEntry]]:
        """The differences from `left` to `right`, in pages, by path.

        Args:
            stats: include the right side's checksum and executable bit.
        """
        path = f"{_ref(repository, left)}/diff/{segment(right)}"
        query = {"type": "two_dot", "prefix": prefix or None, "include_right_stats": True if stats else None}
        async for page in self.pages("diffRefs", path, query, DiffEntry.of):
            yield page

    async def diff_branch(self, repository: str, branch: str, *, amount: int = PAGE) -> AsyncIterator[list[DiffEntry]]:
        """The uncommitted changes of a branch, in pages."""
        query = {"amount": amount}
        async for page in self.pages("diffBranch", f"{_branch(repository, branch)}/diff", query, DiffEntry.of):
            yield page

    # ---- actions

    async def list_hook_runs(self, repository: str, run_id: str) -> list[HookRun]:
        """All hooks of an action run."""
        path = f"{_runs(repository)}/{segment(run_id)}/hooks"
        return [hook async for page in self.pages("listRunHooks", path, {}, HookRun.of) for hook in page]


def _repository(repository: str) -> str:
    return f"/repositories/{segment(repository)}"


def _branch(repository: str, branch: str) -> str:
    return f"{_repository(repository)}/branches/{segment(branch)}"


def _ref(repository: str, ref: str) -> str:
    return f"{_repository(repository)}/refs/{segment(ref)}"


def _runs(repository: str) -> str:
    return f"{_repository(repository)}/actions/runs"
