"""Files beside a workspace's selection, and the places that they take: include and exclude patterns hide them."""

from __future__ import annotations

from collections.abc import Iterator

from perago.errors import ObjectNameError
from perago.models import Changes
from perago.names import show_name
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.together import each


async def check_places(client: LakeFSClient, repository: str, base: str, spec: WorkspaceSpec, changes: Changes) -> None:
    """Refuse an added file where the input has a directory, and below a file, that the patterns hide.

    Without patterns there is nothing to ask: the workspace's own file system has kept file and directory apart.

    Raises:
        ObjectNameError
    """
    if not (spec.include or spec.exclude) or not changes.added:
        return
    gone = {spec.root + path for path in changes.deleted}
    added = [spec.root + path for path in changes.added]
    above = sorted({directory for name in added for directory in _above(name, spec.root)} - gone)
    for directory, found in zip(
        above, await each(above, lambda name: client.find_object(repository, base, name)), strict=True
    ):
        if found is not None:
            raise _refused(f"{directory}/", directory)

    async def first_below(name: str) -> str | None:
        async for page in client.list_objects(repository, base, prefix=name + "/"):
            for stats in page:
                if stats.path not in gone:
                    return stats.path
        return None

    for name, below in zip(added, await each(added, first_below), strict=True):
        if below is not None:
            raise _refused(name, below)


def _above(name: str, root: str) -> Iterator[str]:
    """The directories above a name, down from the workspace's own."""
    end = name.rfind("/")
    while end >= len(root) and end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _refused(name: str, hidden: str) -> ObjectNameError:
    return ObjectNameError(
        f"{show_name(name)} cannot be published: the repository has {show_name(hidden)}, which the workspace's include "
        f"and exclude patterns hide, and a path cannot be both a file and a directory. Write another path"
    )
