"""Files beside a workspace's selection, and the places that they take: include and exclude patterns hide them."""

from __future__ import annotations

from collections.abc import Iterator

from perago.errors import ObjectNameError
from perago.models import Changes
from perago.names import FOR_TASKS, Words, show_name, stands_for_directory
from perago.spec import WorkspaceSpec
from perago.stores.lakefs.client import LakeFSClient
from perago.stores.lakefs.together import each


async def check_places(
    client: LakeFSClient,
    repository: str,
    base: str,
    spec: WorkspaceSpec,
    changes: Changes,
    words: Words = FOR_TASKS,
) -> None:
    """Refuse an added file where a commit has a directory, and below a file, that the patterns hide.

    Without patterns there is nothing to ask: the file system that they come from has kept file and directory apart.

    Args:
        base: the commit that the changes are made on: a task's input, or the head of a branch.

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
            raise _refused(f"{directory}/", directory, words)

    async def first_below(name: str) -> str | None:
        async for page in client.list_objects(repository, base, prefix=name + "/"):
            for stats in page:
                if stats.path not in gone and not stands_for_directory(stats.path, stats.size):
                    return stats.path
        return None

    for name, below in zip(added, await each(added, first_below), strict=True):
        if below is not None:
            raise _refused(name, below, words)


def _above(name: str, root: str) -> Iterator[str]:
    """The directories above a name, down from the workspace's own."""
    end = name.rfind("/")
    while end >= len(root) and end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _refused(name: str, hidden: str, words: Words) -> ObjectNameError:
    return ObjectNameError(
        f"{show_name(name)} cannot be written: the repository has {show_name(hidden)}, left as it is by "
        f"{words.means}, and a path cannot be both a file and a directory. Give the file another path"
    )
