"""The page of a commit, of its lineage, and of one of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from perago.asking.blame import origins
from perago.asking.lineage import nearest_results, nearest_sources
from perago.asking.log import as_log_entry
from perago.asking.past import Past
from perago.asking.why import Kind, why_ran
from perago.errors import PrefixNotFoundError, RefNotFoundError
from perago.ports import CommitEntry, StoredFile
from perago.running.history import CommitSummary
from perago.ui.preview.make import MAX_BYTES, Preview, preview_of, thumbnail_of
from perago.ui.source import Source
from perago.values.names import show_name

MAX_CHANGES = 500
"""Changed files that are listed."""

MAX_DOWNLOAD = 64 * 1024**2
"""Size up to which a file can be downloaded: it is whole in memory."""

MAX_DIFFERENCES = 20
"""Differences from the nearest earlier result that are listed."""

MAX_RELATED = 100
"""Commits before and after one in a lineage."""

MAX_LOOKED_AT = 500
"""Commits that are looked at for them, before it, and after it on each branch; and for the one that made a file."""

MAX_LINKED_PATHS = 5
"""Files that are named beside a commit of a lineage."""


@dataclass(frozen=True, kw_only=True)
class ChangedFile:
    """A file that a commit changed."""

    path: str
    change: Literal["added", "modified", "deleted"]


SHOWN_AS: Mapping[str, Literal["page", "drawing"]] = {".html": "page", ".htm": "page", ".svg": "drawing"}
"""Files that a browser shows as what they are, sealed; by the end of their names."""

_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".md", ".markdown")
MAX_REPORTS = 12
"""Reports and plots that a commit's page leads to."""


@dataclass(frozen=True, kw_only=True)
class CommitPage:
    """A commit.

    Attributes:
        has_series: its body recorded numbers over steps.
        message: of somebody's own commit, what follows the first line.
        reports: files among these changes that are reports and plots by their names, at most `MAX_REPORTS`.
        changes: the first `MAX_CHANGES`, by name; more_changes: how many others there are.
        standing: `reverted`, `distrusted` or `replaced` by a later commit of any branch, or `effective`.
        why: why its attempt ran; None if there was none, or that is not known.
    """

    commit: CommitSummary
    message: str
    distrusts: str | None
    trusts: str | None
    standing: str | None
    run_is_here: bool
    has_series: bool
    reports: Sequence[str]
    changes: Sequence[ChangedFile]
    more_changes: int
    why: Why | None = None


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why an attempt ran its body; see `asking.why.Ran`.

    Attributes:
        differences: in words, the first `MAX_DIFFERENCES`; more: how many others there are.
    """

    kind: Kind
    since: str | None
    differences: Sequence[str]
    more: int
    inputs: tuple[str, str] | None


@dataclass(frozen=True, kw_only=True)
class Related:
    """A commit of a lineage.

    Attributes:
        name: the task that made it, or the author of somebody's own commit.
        paths: files by which it is linked; more_paths: how many others there are.
    """

    commit: str
    name: str
    subject: str
    time: str
    paths: Sequence[str]
    more_paths: int


@dataclass(frozen=True, kw_only=True)
class LineagePage:
    """What a commit was made from, and what was made from it: its nearest relatives. Each has a lineage of its own.

    Attributes:
        sources_are_cut, results_are_cut: there may be more among commits that were not looked at.
        looked_at: how many were, before it, and after it on each branch.
        is_reading: for want of time, not all of these were; the rest is being read.
    """

    commit: str
    name: str
    sources: Sequence[Related]
    sources_are_cut: bool
    results: Sequence[Related]
    results_are_cut: bool
    looked_at: int
    is_reading: bool = False


@dataclass(frozen=True, kw_only=True)
class FilePage:
    """A file of a commit.

    Attributes:
        shown_as: what a browser can show it as, sealed; None if it is neither, or too large.
        changed_by: the commit that gave it this content; None if that is not known, or none of those looked at.
        looked_at: how many are looked at, from this commit back along first parents.
        is_reading: it is not known yet, because what older commits changed is being read.
    """

    commit: str
    path: str
    size: int
    can_download: bool
    changed_by: Related | None
    looked_at: int
    shown_as: Literal["page", "drawing"] | None
    preview: Preview
    is_reading: bool = False


def commit_page(source: Source, ref: str) -> CommitPage:
    """See `CommitPage`.

    Args:
        ref: a full id, or the beginning of one, or a tag.

    Raises:
        RefNotFoundError, StoreError: there is no such commit, or it cannot be read.
    """
    with source.past() as past:
        entry = _entry(past, ref)
        [step] = past.stepped([entry])
        why, standing = _why(past, entry), past.standing(entry.id)
    kept = step.changes
    listed = [ChangedFile(path=path, change="added") for path in kept.written[: kept.added]]
    listed += [ChangedFile(path=path, change="modified") for path in kept.written[kept.added :]]
    listed += [ChangedFile(path=path, change="deleted") for path in kept.removed]
    listed.sort(key=lambda one: one.path)
    commit = CommitSummary.of(as_log_entry(step))
    return CommitPage(
        commit=commit,
        message=entry.message,
        distrusts=None if entry.stamp is None else entry.stamp.distrusts,
        trusts=None if entry.stamp is None else entry.stamp.trusts,
        standing=standing,
        run_is_here=commit.run_id is not None and source.has_run(commit.run_id),
        has_series=entry.stamp is not None and bool(entry.stamp.series),
        reports=[one.path for one in listed if one.change != "deleted" and _is_report(one.path)][:MAX_REPORTS],
        changes=listed[:MAX_CHANGES],
        more_changes=kept.added + kept.modified + kept.deleted - len(listed[:MAX_CHANGES]),
        why=why,
    )


def _why(past: Past, entry: CommitEntry) -> Why | None:
    ran = why_ran(past, entry)
    if ran is None:
        return None
    told = [each.text for each in ran.differences]
    return Why(
        kind=ran.kind,
        since=ran.since,
        differences=told[:MAX_DIFFERENCES],
        more=max(len(told) - MAX_DIFFERENCES, 0),
        inputs=ran.inputs,
    )


def lineage_page(source: Source, ref: str) -> LineagePage:
    """See `LineagePage`.

    Raises:
        RefNotFoundError, StoreError: as `commit_page`.
    """
    with source.past() as past:
        entry = _entry(past, ref)
        before = nearest_sources(past, entry, commits=MAX_LOOKED_AT)
        after = nearest_results(past, entry.id, commits=MAX_LOOKED_AT)
    return LineagePage(
        commit=entry.id,
        name=_name(entry),
        sources=[_related(link.entry, link.paths) for link in before.links[:MAX_RELATED]],
        sources_are_cut=before.is_cut or len(before.links) > MAX_RELATED,
        results=[_related(link.entry, link.paths) for link in after.links[:MAX_RELATED]],
        results_are_cut=after.is_cut or len(after.links) > MAX_RELATED,
        looked_at=MAX_LOOKED_AT,
        is_reading=bool(past.unread),
    )


def file_page(source: Source, ref: str, path: str) -> FilePage:
    """See `FilePage`.

    Raises:
        RefNotFoundError, PrefixNotFoundError, StoreError: there is no such commit or file, or it cannot be read.
    """
    with source.past() as past:
        entry = _entry(past, ref)
        found = _file(past, entry, path)
        content = found.read() if found.size <= MAX_BYTES else None
        made = origins(past, entry.id, [path], commits=MAX_LOOKED_AT)
    return FilePage(
        commit=entry.id,
        path=path,
        size=found.size,
        can_download=found.size <= MAX_DOWNLOAD,
        changed_by=_related(made[0].entry, (path,)) if made and not past.unread else None,
        looked_at=MAX_LOOKED_AT,
        shown_as=None if content is None else SHOWN_AS.get(_suffix(path)),
        preview=Preview(kind="large") if content is None else preview_of(path, content),
        is_reading=bool(past.unread),
    )


def content_of(source: Source, ref: str, path: str) -> bytes:
    """The content of a file, to be downloaded.

    Raises:
        PrefixNotFoundError: it is larger than `MAX_DOWNLOAD`; and as `file_page`.
    """
    with source.past() as past:
        found = _file(past, _entry(past, ref), path)
        if found.size > MAX_DOWNLOAD:
            raise PrefixNotFoundError(
                f"{show_name(path)} has {found.size} bytes, which is too large to pass through this page; use "
                f"`perago export`"
            )
        return found.read()


@dataclass(frozen=True, kw_only=True)
class ShownPage:
    """A file as what it is: a page in a frame of its own, or a drawing."""

    commit: str
    path: str
    shown_as: Literal["page", "drawing"]


def shown_page(source: Source, ref: str, path: str) -> ShownPage:
    """See `ShownPage`.

    Raises:
        PrefixNotFoundError: it is of another kind, or too large; and as `file_page`.
    """
    kind, _ = sealed_content(source, ref, path)
    with source.past() as past:
        return ShownPage(commit=_entry(past, ref).id, path=path, shown_as=kind)


def sealed_content(source: Source, ref: str, path: str) -> tuple[Literal["page", "drawing"], bytes]:
    """The content of a file for a sealed answer, and what it is.

    Raises:
        As `shown_page`.
    """
    kind = SHOWN_AS.get(_suffix(path))
    with source.past() as past:
        found = _file(past, _entry(past, ref), path)
        if kind is None or found.size > MAX_BYTES:
            raise PrefixNotFoundError(
                f"{show_name(path)} is no HTML page and no SVG drawing of at most {MAX_BYTES} bytes"
            )
        return kind, found.read()


def thumbnail(source: Source, ref: str, path: str) -> bytes | None:
    """A PNG of an image; None if it cannot be had.

    Raises:
        As `file_page`.
    """
    with source.past() as past:
        found = _file(past, _entry(past, ref), path)
        content = found.read() if found.size <= MAX_BYTES else None
    return None if content is None else thumbnail_of(path, content)


def _entry(past: Past, ref: str) -> CommitEntry:
    found = past.entry(past.resolve(ref))
    if found is None:
        raise RefNotFoundError(f"no branch of {past.address.argument} has commit {show_name(ref)}")
    return found


def _file(past: Past, entry: CommitEntry, path: str) -> StoredFile:
    found = past.repository.find_file(entry.id, path)
    if found is None:
        raise PrefixNotFoundError(f"commit {entry.id[:12]} has no file {show_name(path)}")
    return found


def _suffix(path: str) -> str:
    return path[path.rfind(".") :].lower() if "." in path.rpartition("/")[2] else ""


def _is_report(path: str) -> bool:
    return _suffix(path) in SHOWN_AS or _suffix(path) in _PICTURES


def _name(entry: CommitEntry) -> str:
    return entry.author if entry.stamp is None else entry.stamp.task


def _related(entry: CommitEntry, paths: Sequence[str]) -> Related:
    return Related(
        commit=entry.id,
        name=_name(entry),
        subject=entry.subject if entry.stamp is None else "",
        time=entry.time.isoformat(),
        paths=paths[:MAX_LINKED_PATHS],
        more_paths=max(len(paths) - MAX_LINKED_PATHS, 0),
    )
