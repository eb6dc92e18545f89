"""Whether this server's hooks guard a publication: a merge that must be refused, on a scratch branch, and is."""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import suppress

from perago.errors import FenceUnavailableError, PublishVetoedError, StoreError
from perago.ports import Clock
from perago.stores.lakefs.branches import canary_name
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.failure import LakeFSError
from perago.stores.lakefs.fence import EXPECTED_PARENT
from perago.stores.lakefs.hints import uri
from perago.stores.lakefs.values import Commit
from perago.stores.lakefs.vetoes import HOOK_REFUSED, vetoes

_NO_COMMIT = "canary"
"""No commit has this id, so the fence has to refuse."""

_PAUSE_SECONDS = 0.5

COOPERATIVE_HINT = (
    "To publish without hooks, with what that cannot guarantee, set fence='cooperative' (LakeFSStore's option, or "
    "PERAGO_FENCE=cooperative)"
)


class Canary:
    """Makes sure once for each repository of a server, and for as long as this process lives.

    Args:
        client, clock: to ask, and for the scratch branch's name.
    """

    def __init__(self, client: LakeFSClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._alive: set[str] = set()
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, repository: str, staged: Commit) -> None:
        """Merge the staged commit where nobody looks, as if another head were expected.

        Raises:
            FenceUnavailableError: it was merged: no hook runs, or the fence does not do its work.
        """
        async with self._locks.setdefault(repository, asyncio.Lock()):
            if repository not in self._alive:
                await self._sing(repository, staged)
                self._alive.add(repository)

    async def _sing(self, repository: str, staged: Commit) -> None:
        branch = canary_name(self._clock.now(), secrets.token_hex(8))
        try:
            await self._client.create_branch(repository, branch, staged.parents[0], hidden=True)
            merged = await self._merge(repository, branch, staged)
        finally:
            with suppress(StoreError):
                await self._client.delete_branch(repository, branch)
        if merged is not None:
            raise FenceUnavailableError(
                f"the lakeFS server made merge {merged[:12]} of repository {repository!r}, on a scratch branch, which "
                f"Perago's hook should have refused: it runs no hooks (its setting actions.enabled), or not as known. "
                f"Nothing was published. Enable actions on the server. {COOPERATIVE_HINT}"
            )

    async def _merge(self, repository: str, branch: str, staged: Commit) -> str | None:
        """The merge that should not be; None: it was refused. Nobody needs it, so it is repeated until it is clear."""
        for last in (False, False, False, False, True):
            try:
                return await self._client.merge(
                    repository,
                    staged.id,
                    branch,
                    message="Perago's check that a hook refuses a merge on an unexpected head",
                    metadata={EXPECTED_PARENT: _NO_COMMIT},
                    options={"allow_empty": True},
                )
            except LakeFSError as exc:
                if exc.status == HOOK_REFUSED:
                    await self._see_to_ours(repository, exc)
                    return None
                if last or not exc.may_pass:
                    raise
                await asyncio.sleep(random.random() * _PAUSE_SECONDS)  # noqa: S311 - spreads load, guards nothing
        raise AssertionError("the last try returns or raises")

    async def _see_to_ours(self, repository: str, refusal: LakeFSError) -> None:
        found = await vetoes(self._client, repository, refusal)
        if found and not any(veto.is_ours for veto in found):
            raise PublishVetoedError(
                f"{', '.join(map(str, found))} refuses merges, on Perago's scratch branch too, and Perago's own hook "
                f"did not: {refusal.message}. Nothing was published. Look at that hook; `lakectl actions runs list "
                f"{uri(repository)}` shows what it said"
            ) from refusal
