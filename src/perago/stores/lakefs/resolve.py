"""Resolving a person's name for a commit (a branch, a tag, an expression, the beginning of an id) to its full id."""

from __future__ import annotations

from perago.errors import RefNotFoundError
from perago.stores.lakefs.api.answers import LakeFSError, uri
from perago.stores.lakefs.api.client import LakeFSClient
from perago.stores.lakefs.api.commits import NOT_THERE, check_repository


async def resolve(client: LakeFSClient, repository: str, ref: str) -> str:
    """Full id of the commit that `ref` names now, in any form that lakeFS accepts (`main`, `main~2`, `v1`, `3f2a…`).

    Raises:
        RepositoryNotFoundError: there is no such repository.
        RefNotFoundError: no commit, or more than one, has this name.
    """
    try:
        async for page in client.log_commits(repository, ref, amount=1):
            return page[0].id
    except LakeFSError as exc:
        if exc.status not in NOT_THERE:
            raise
        await check_repository(client, repository)
    raise RefNotFoundError(
        f"repository {repository!r} has no commit {ref!r}, or more than one. Give a commit id, a branch or a tag; "
        f"`perago log --repo {uri(repository)} --branch BRANCH` lists commits"
    )
