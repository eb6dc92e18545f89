"""Calls on repositories, branches, tags, commits and what actions did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from perago.http.session import Request
from perago.stores.lakefs.api import CALL_SECONDS, PAGE, Api, read, segment
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.values import (
    ActionRun,
    Branch,
    Commit,
    DiffEntry,
    HookRun,
    RepositoryFacts,
    ServerFacts,
)

_CONFLICT = 409


class RefCalls(Api):
    """What has no content: names, and what they point at. Every call raises `LakeFSError`."""

    async def get_config(self) -> ServerFacts:
        """What the server says of itself."""
        return await self.get("getConfig", self.url("/config"), ServerFacts.of)

    # ---- repositories

    async def get_repository(self, repository: str) -> RepositoryFacts:
        return await self.get("getRepository", self.url(_repository(repository)), RepositoryFacts.of)

    async def create_repository(
        self, repository: str, storage_namespace: str, *, default_branch: str = "main"
    ) -> RepositoryFacts:
        """Make a repository with one branch, which points at an empty first commit. 409: there is one."""
        body = {"name": repository, "storage_namespace": storage_namespace, "default_branch": default_branch}
        answer = await self.send(
            "createRepository", ("POST", self.url("/repositories"), body), expected=(201,), idempotent=False
        )
        return read("createRepository", answer, RepositoryFacts.of)

    async def get_protected_branches(self, repository: str) -> list[str]:
        """The patterns of branches that are protected against direct changes."""
        path = f"{_repository(repository)}/settings/branch_protection"
        return await self.get(
            "getBranchProtectionRules", self.url(path), lambda rules: [str(rule["pattern"]) for rule in rules]
        )

    # ---- branches and tags

    async def get_branch(self, repository: str, branch: str) -> Branch:
        return await self.get("getBranch", self.url(_branch(repository, branch)), Branch.of)

    async def find_branch(self, repository: str, branch: str) -> Branch | None:
        """The branch, or None where the repository, or the branch, is not there."""
        try:
            return await self.get_branch(repository, branch)
        except LakeFSError as exc:
            if exc.status == 404:
                return None
            raise

    async def create_branch(self, repository: str, branch: str, source: str, *, hidden: bool = False) -> None:
        """Make a branch at a commit, unless it is there, and points there. 409: there is one that points elsewhere.

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
        """Delete a branch, whatever it holds; False: there was none."""
        url = self.url(_branch(repository, branch))
        answer = await self.call("deleteBranch", Request("DELETE", url), expected=(204, 404))
        return answer.status == 204

    async def list_branches(
        self, repository: str, *, prefix: str = "", show_hidden: bool = False
    ) -> AsyncIterator[list[Branch]]:
        """All branches whose names begin with `prefix`, in pages."""
        query = {"prefix": prefix or None, "show_hidden": show_hidden}
        async for page in self.pages("listBranches", f"{_repository(repository)}/branches", query, Branch.of):
            yield page

    async def get_tag(self, repository: str, tag: str) -> Branch:
        return await self.get("getTag", self.url(f"{_repository(repository)}/tags/{segment(tag)}"), Branch.of)

    # ---- commits

    async def get_commit(self, repository: str, commit_id: str) -> Commit:
        """A commit by its id, or by a unique beginning of one; the server takes branch and tag names here too."""
        url = self.url(f"{_repository(repository)}/commits/{segment(commit_id)}")
        return await self.get("getCommit", url, Commit.of)

    async def log_commits(
        self,
        repository: str,
        ref: str,
        *,
        first_parent: bool = True,
        stop_at: str | None = None,
        amount: int = PAGE,
    ) -> AsyncIterator[list[Commit]]:
        """The log from a ref down, newest first, in pages of `amount`; `stop_at` comes last, and is not left out."""
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
        """Commit what is staged on a branch, or, on top of it, the content of `source_metarange`.

        Never repeated where the answer is unclear. 400: there is nothing to commit.
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
        """Merge a ref into a branch; returns the id of the merge commit. Never repeated where the answer is unclear.

        409: a conflict. 412: a hook refused. 400: nothing to merge, or the branch has uncommitted changes.

        Args:
            options: more of the API's own: `allow_empty`, `force`, `strategy`, `squash_merge`.
        """
        url = self.url(f"{_ref(repository, source)}/merge/{segment(branch)}")
        body = {"message": message, "metadata": dict(metadata), **(options or {})}
        answer = await self.send(
            "mergeIntoBranch", ("POST", url, body), expected=(200,), idempotent=False, timeout=timeout
        )
        return read("mergeIntoBranch", answer, lambda merged: str(merged["reference"]))

    # ---- differences

    async def diff_refs(
        self, repository: str, left: str, right: str, *, two_dot: bool = True, prefix: str = "", stats: bool = False
    ) -> AsyncIterator[list[DiffEntry]]:
        """What differs from `left` to `right`, in pages, by path.

        Args:
            two_dot: between the two themselves; False: from their merge base to `right`.
            stats: with the right side's checksums, and whether it is executable.
        """
        path = f"{_ref(repository, left)}/diff/{segment(right)}"
        query = {
            "type": "two_dot" if two_dot else "three_dot",
            "prefix": prefix or None,
            "include_right_stats": True if stats else None,
        }
        async for page in self.pages("diffRefs", path, query, DiffEntry.of):
            yield page

    async def diff_branch(self, repository: str, branch: str, *, amount: int = PAGE) -> AsyncIterator[list[DiffEntry]]:
        """What is on a branch and not committed, in pages."""
        query = {"amount": amount}
        async for page in self.pages("diffBranch", f"{_branch(repository, branch)}/diff", query, DiffEntry.of):
            yield page

    # ---- actions

    async def list_action_runs(
        self, repository: str, *, branch: str | None = None, commit: str | None = None, amount: int = 100
    ) -> AsyncIterator[list[ActionRun]]:
        """Runs of actions, newest first, in pages."""
        query = {"branch": branch, "commit": commit, "amount": amount}
        async for page in self.pages("listRepositoryRuns", _runs(repository), query, ActionRun.of):
            yield page

    async def list_hook_runs(self, repository: str, run_id: str) -> list[HookRun]:
        """All hooks of an action run."""
        path = f"{_runs(repository)}/{segment(run_id)}/hooks"
        return [hook async for page in self.pages("listRunHooks", path, {}, HookRun.of) for hook in page]

    async def get_hook_output(self, repository: str, run_id: str, hook_run_id: str) -> str:
        """What a hook wrote."""
        path = f"{_runs(repository)}/{segment(run_id)}/hooks/{segment(hook_run_id)}/output"
        answer = await self.call("getRunHookOutput", Request("GET", self.url(path)))
        return answer.body.decode(errors="replace")


def _repository(repository: str) -> str:
    return f"/repositories/{segment(repository)}"


def _branch(repository: str, branch: str) -> str:
    return f"{_repository(repository)}/branches/{segment(branch)}"


def _ref(repository: str, ref: str) -> str:
    return f"{_repository(repository)}/refs/{segment(ref)}"


def _runs(repository: str) -> str:
    return f"{_repository(repository)}/actions/runs"
