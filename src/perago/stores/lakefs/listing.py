"""Selecting the objects of a commit that belong to a workspace: from the server's listing, or from one that is kept.

A listing takes a call for 1,000 objects, one after the other. That of a commit which this host published or laid out is
kept, and that of a later commit is made of it and the server's differences where that is shorter. In doubt it is
listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from perago.errors import StoreError
from perago.http.parallel import in_thread
from perago.stores.lakefs.api.answers import DiffEntry, ObjectStats
from perago.stores.lakefs.api.calls import PAGE
from perago.stores.lakefs.api.client import AT_ONCE, LakeFSClient, each
from perago.stores.lakefs.content.kept_listings import UNREADABLE, Base, KeptListings, Listing, ListingKey
from perago.stores.lakefs.content.transfer import Transfer
from perago.stores.lakefs.publication.fence import ACTIONS_PREFIX
from perago.values.names import stands_for_directory
from perago.values.spec import WorkspaceSpec
from perago.workspace.patterns import Selection

_GLOB = re.compile(r"[*?\[]")


def is_shorter(changed: int, calls: int) -> bool:
    """Whether to ask for the differences of two commits, and for the objects that have changed, instead of listing.

    Counts calls that wait for each other: one for the differences, and one for each `AT_ONCE` objects, which are asked
    for in parallel. A server near by answers these as fast as a page of a listing, one far away in one round trip, too.

    Args:
        changed: objects to ask for; calls: that the listing takes.
    """
    return 1 + -(-changed // AT_ONCE) < calls


async def find_files(transfer: Transfer, commit_id: str, spec: WorkspaceSpec) -> tuple[ObjectStats, ...]:
    """As `list_files`, by fewer calls if a listing of this commit or of another one is kept. Keeps what it found.

    Raises:
        ObjectNameError, StoreError: as `ObjectCalls.list_objects`.
    """
    kept = transfer.listings
    if kept is None:
        return await list_files(transfer.client, transfer.repository, commit_id, spec)
    key = _key(transfer, commit_id, spec)
    await kept.settled(key)  # an attempt that follows at once
    known, base = await in_thread(_look_up, kept, key)
    if known is not None:
        return known
    if base is not None and is_shorter(1, base.calls):
        made = await _make_of(transfer, kept, base, key, spec)
        if made is not None:
            listing, files = made
            kept.begin_keeping(key, lambda: listing)
            return files
    files, calls = await _list(transfer.client, transfer.repository, commit_id, spec)
    kept.begin_keeping(key, partial(Listing.of, files, calls))
    return files


def keep_published(
    transfer: Transfer,
    spec: WorkspaceSpec,
    commit_ids: tuple[str, str],
    changes: Mapping[str, ObjectStats | None],
) -> None:
    """Begin to keep the listing of a published commit, made of that of its input. Returns at once; raises nothing.

    Args:
        commit_ids: of the input, and of the commit that has its content with the changes and nothing else, in full.
        changes: what was uploaded at each name; None for what was deleted.
    """
    kept = transfer.listings
    if kept is None:
        return
    base, published = (_key(transfer, commit_id, spec) for commit_id in commit_ids)
    selects = _selects(spec)

    def make() -> Listing | None:
        known = kept.find(base)
        if known is None or any(_is_same(known.find(name), stats) for name, stats in changes.items()):
            return None
        return known.changed(_selected(changes, selects))

    kept.begin_keeping(published, make)


async def list_files(
    client: LakeFSClient, repository: str, commit_id: str, spec: WorkspaceSpec
) -> tuple[ObjectStats, ...]:
    """The selected objects of a commit, by name, without directory markers. Does not check the names.

    Raises:
        ObjectNameError, StoreError: as `ObjectCalls.list_objects`.
    """
    files, _ = await _list(client, repository, commit_id, spec)
    return files


async def _list(
    client: LakeFSClient, repository: str, commit_id: str, spec: WorkspaceSpec
) -> tuple[tuple[ObjectStats, ...], int]:
    """The selected objects, and the number of calls."""
    selects, calls = _selects(spec), 0
    found: list[ObjectStats] = []
    for prefix in _prefixes(spec.root, spec.include):
        async for page in client.list_objects(repository, commit_id, prefix=prefix):
            found += (stats for stats in page if selects(stats.path, stats.size))
            calls += 1
    return tuple(found), calls


def _selects(spec: WorkspaceSpec) -> Callable[[str, int], bool]:
    """Whether an object with this name and size belongs to a workspace."""
    selection = Selection(spec.include, spec.exclude)
    selects_all = not spec.include and not spec.exclude
    start = len(spec.root)

    def selects(name: str, size: int) -> bool:
        return (
            name.startswith(spec.root)
            and not name.startswith(ACTIONS_PREFIX)
            and not stands_for_directory(name, size)
            and (selects_all or selection.selects(name[start:]))
        )

    return selects


# ---- from a listing that is kept


def _key(transfer: Transfer, commit_id: str, spec: WorkspaceSpec) -> ListingKey:
    patterns = tuple(spec.include), tuple(spec.exclude)
    return ListingKey(transfer.client.root, transfer.repository, commit_id, spec.root, *patterns)


def _look_up(kept: KeptListings, key: ListingKey) -> tuple[tuple[ObjectStats, ...] | None, Base | None]:
    known = kept.find(key)
    if known is not None:
        try:
            return known.files(), None
        except ValueError:  # it is not what this version writes
            kept.forget(key)
    return None, kept.base(key)


async def _make_of(
    transfer: Transfer, kept: KeptListings, base: Base, key: ListingKey, spec: WorkspaceSpec
) -> tuple[Listing, tuple[ObjectStats, ...]] | None:
    """The listing, made of that of another commit, and its files. None in doubt, or if listing is shorter."""
    client, repository = transfer.client, transfer.repository
    selects = _selects(spec)
    try:
        differences = await _differences(client, repository, (base.commit_id, key.commit_id), spec)
        if differences is None:
            return None
        present = [entry.path for entry in differences if entry.kind != "removed" and selects(entry.path, entry.size)]
        if not is_shorter(len(present), base.calls):
            return None
        known = await in_thread(kept.find, key._replace(commit_id=base.commit_id))
        if known is None or any(known.find(entry.path) for entry in differences if entry.kind == "added"):
            return None
        found = await each(present, lambda path: client.stat_object(repository, key.commit_id, path))
        if [stats.path for stats in found] != present:
            return None
        changes: dict[str, ObjectStats | None] = {entry.path: None for entry in differences}
        changes.update((stats.path, stats) for stats in found)
        made = await in_thread(known.changed, _selected(changes, selects))
        return made, await in_thread(made.files)
    except (StoreError, ValueError):  # the listing says what is wrong; a name or a record that cannot be read
        return None


async def _differences(
    client: LakeFSClient, repository: str, commit_ids: tuple[str, str], spec: WorkspaceSpec
) -> list[DiffEntry] | None:
    """How one commit differs from another one below the prefixes of a listing. None for more than a page, and in doubt.

    Raises:
        LakeFSError: the server refuses, or cannot be reached.
    """
    found: list[DiffEntry] = []
    for prefix in _prefixes(spec.root, spec.include):
        async for page in client.diff_refs(repository, *commit_ids, prefix=prefix):
            found += page
            if len(found) >= PAGE or any(_is_doubtful(entry) for entry in page):
                return None
    return found


def _is_doubtful(entry: DiffEntry) -> bool:
    return entry.kind not in ("added", "removed", "changed") or UNREADABLE in entry.path


def _is_same(known: ObjectStats | None, sent: ObjectStats | None) -> bool:
    """Whether the server may regard what was sent as no change, and have kept what it had, with another address."""
    return known is not None and sent is not None and known[2:] == sent[2:]


def _selected(
    changes: Mapping[str, ObjectStats | None], selects: Callable[[str, int], bool]
) -> dict[str, ObjectStats | None]:
    """The changes of a listing: an object that is not selected, such as a directory marker, is not in it."""
    return {name: stats if stats is not None and selects(name, stats.size) else None for name, stats in changes.items()}


# ---- questions that need no whole listing


async def has_same_files(
    client: LakeFSClient, repository: str, commit_ids: tuple[str, str], spec: WorkspaceSpec
) -> bool:
    """Whether the selected objects of two commits are the same. Ends at the first one that differs.

    Raises:
        LakeFSError: the server refuses, or cannot be reached.
    """
    before, after = commit_ids
    if before == after:
        return True
    selection = Selection(spec.include, spec.exclude)
    start = len(spec.root)
    for prefix in _prefixes(spec.root, spec.include):
        async for page in client.diff_refs(repository, before, after, prefix=prefix):
            if any(
                not entry.path.startswith(ACTIONS_PREFIX) and selection.selects(entry.path[start:]) for entry in page
            ):
                return False
    return True


async def has_any(client: LakeFSClient, repository: str, commit_id: str, prefix: str) -> bool:
    """Whether a commit has anything below a prefix, apart from objects below `ACTIONS_PREFIX`."""
    page, following = await client.list_page(repository, commit_id, prefix=prefix, amount=1)
    if page and page[0].path.startswith(ACTIONS_PREFIX) and following is not None:
        page, _ = await client.list_page(
            repository, commit_id, prefix=prefix, after=ACTIONS_PREFIX[:-1] + chr(ord("/") + 1), amount=1
        )
    return any(not stats.path.startswith(ACTIONS_PREFIX) for stats in page)


def _prefixes(root: str, include: Sequence[str]) -> Iterable[str]:
    """The prefixes to list: each pattern up to its first wildcard, without prefixes covered by another, sorted."""
    if not include:
        return [root]
    prefixes: list[str] = []
    for prefix in sorted({_GLOB.split(pattern, maxsplit=1)[0] for pattern in include}):
        if not prefixes or not prefix.startswith(prefixes[-1]):
            prefixes.append(prefix)
    return [root + prefix for prefix in prefixes]
