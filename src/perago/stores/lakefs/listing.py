"""Which objects of a commit belong to a workspace."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from perago.names import stands_for_directory
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.fence import ACTIONS_PREFIX
from perago.stores.lakefs.values import ObjectStats
from perago.workspace.patterns import Selection

_GLOB = re.compile(r"[*?\[]")


async def list_files(
    client: LakeFSClient, repository: str, commit_id: str, spec: WorkspaceSpec
) -> tuple[ObjectStats, ...]:
    """The selected objects of a commit, by name, without those that stand for a directory. Names are not judged yet.

    Raises:
        ObjectNameError, StoreError: as `ObjectCalls.list_objects`.
    """
    selection = Selection(spec.include, spec.exclude)
    selects_all = not spec.include and not spec.exclude
    start = len(spec.root)
    found: list[ObjectStats] = []
    for prefix in _prefixes(spec.root, spec.include):
        async for page in client.list_objects(repository, commit_id, prefix=prefix):
            found += (
                stats
                for stats in page
                if not stats.path.startswith(ACTIONS_PREFIX)
                and not stands_for_directory(stats.path, stats.size)
                and (selects_all or selection.selects(stats.path[start:]))
            )
    return tuple(found)


async def has_any(client: LakeFSClient, repository: str, commit_id: str, prefix: str) -> bool:
    """Whether a commit holds anything below a prefix; what `ACTIONS_PREFIX` hides does not count."""
    page, following = await client.list_page(repository, commit_id, prefix=prefix, amount=1)
    if page and page[0].path.startswith(ACTIONS_PREFIX) and following is not None:
        page, _ = await client.list_page(
            repository, commit_id, prefix=prefix, after=ACTIONS_PREFIX[:-1] + chr(ord("/") + 1), amount=1
        )
    return any(not stats.path.startswith(ACTIONS_PREFIX) for stats in page)


def _prefixes(root: str, include: Sequence[str]) -> Iterable[str]:
    """What has to be listed: up to the first wildcard of each pattern, without what another one covers, sorted."""
    if not include:
        return [root]
    prefixes: list[str] = []
    for prefix in sorted({_GLOB.split(pattern, maxsplit=1)[0] for pattern in include}):
        if not prefixes or not prefix.startswith(prefixes[-1]):
            prefixes.append(prefix)
    return [root + prefix for prefix in prefixes]
