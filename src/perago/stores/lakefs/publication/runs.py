"""Branches of transactional runs."""

from __future__ import annotations

from perago.stores.lakefs.api.answers import LakeFSError
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import NOT_THERE, Commits, check_repository, is_full_id, no_commit
from perago.stores.lakefs.publication.history import stamp_of

_EXISTS = 409


async def create_run_branch(client: LakeFSClient, commits: Commits, repository: str, branch: str, source: str) -> str:
    """Create the branch of a run, unless it exists. See `ports.TransactionalStore.create_run_branch`.

    It is hidden, as staging branches are, so that lists of branches do not show it. `perago log --branch` and
    `lakectl log` show it to those who give its name.
    """
    base = source if is_full_id(source) else await commits.head_of(repository, source)
    try:
        await client.create_branch(repository, branch, base, hidden=True)
    except LakeFSError as exc:
        if exc.status == _EXISTS:
            return await _begun_at(client, repository, branch)
        if exc.status not in NOT_THERE:
            raise
        await check_repository(client, repository)
        raise no_commit(repository, base) from exc
    return base


async def _begun_at(client: LakeFSClient, repository: str, branch: str) -> str:
    """Id of the newest commit on the branch that is not of its run."""
    async for page in client.log_commits(repository, branch):
        for commit in page:
            stamp = stamp_of(commit)
            if stamp is None or stamp.branch != branch:
                return commit.id
    raise AssertionError("the first commit of a repository has no stamp")
