"""What a commit was made from, and what was made from it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from perago.asking.blame import given_back, heads_brought, origins
from perago.asking.past import Past, Step
from perago.errors import StoreError
from perago.ports import CommitEntry
from perago.values.history import Stamp
from perago.values.spec import WorkspaceSpec
from perago.workspace.patterns import Selection

MAX_FILES = 10_000
"""Files of an input whose origin is looked for."""

MAX_COMMITS = 200
"""Commits in one answer."""

MAX_BRANCHES = 50
"""Branches that are looked through for what was made of a commit."""


@dataclass(frozen=True)
class Link:
    """A commit that others were made from, or that was made of others.

    Attributes:
        paths: the files by which it is linked, sorted.
    """

    entry: CommitEntry
    paths: tuple[str, ...]


@dataclass(frozen=True)
class MadeFrom:
    """A commit, and what it was made from.

    Attributes:
        sources: the commits that made the files which its task read, newest first.
        unread: files that it could read and that are not among those of `sources`, because there are too many.
    """

    entry: CommitEntry
    sources: tuple[Link, ...] = ()
    unread: int = 0


@dataclass
class _Line:
    """The writers of the files of a line that stem from one commit; positions count from that commit on."""

    positions: dict[str, int] = field(default_factory=dict)
    writers: dict[str, list[tuple[int, str | None]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def since(cls, past: Past, first: Step, paths: Iterable[str]) -> Self:
        """Of these files of the first commit. Those of a revert are none of it."""
        line = cls({first.entry.id: 0})
        if given_back(past, first.entry) is None:
            line.writers.update({path: [(0, first.entry.id)] for path in paths})
        return line

    def writer(self, path: str, position: int) -> str | None:
        """The commit that a file stems from at a position; None if from another one than those looked for."""
        written = self.writers.get(path, [])
        at = bisect_right(written, position, key=lambda each: each[0])
        return written[at - 1][1] if at else None

    def overwrite(self, past: Past, step: Step, position: int, paths: Iterable[str]) -> None:
        """Note that a commit at a position has changed these of the files, which it was not made from. A revert gives
        them back to their writers."""
        back = given_back(past, step.entry)
        before = None if back is None else self.positions.get(back)
        for path in self.writers.keys() & set(paths):
            self.writers[path].append((position, None if before is None else self.writer(path, before)))


def read_by(stamp: Stamp) -> tuple[str, Selection] | None:
    """What the task of a stamp could read: a prefix ("" or "a/b/"), and the names below it. None if it read nothing, or
    that is not known."""
    if stamp.is_by_command:
        return None
    try:
        spec = WorkspaceSpec.model_validate(stamp.selection or {})
    except ValueError:
        return None
    laid_out = spec.laid_out
    return spec.root, Selection(laid_out.include, laid_out.exclude)


def reads(stamp: Stamp, paths: Collection[str]) -> list[str]:
    """Those of some names of a repository that the task of a stamp could read."""
    found = read_by(stamp)
    if found is None:
        return []
    root, selection = found
    return [path for path in paths if path.startswith(root) and selection.selects(path.removeprefix(root))]


def made_from(past: Past, commit_id: str, *, limit: int = MAX_COMMITS) -> list[MadeFrom]:
    """What a commit was made from, then what those commits were made from, and so on; nearest first.

    Args:
        commit_id: full id.
        limit: commits that are looked at; 1 for that commit alone.

    Raises:
        StoreError: the history does not have it, or cannot be read.
    """
    found: dict[str, MadeFrom] = {}
    waiting = [commit_id]
    while waiting and len(found) < limit:
        at = waiting.pop(0)
        if at in found:
            continue
        entry = past.entry(at)
        if entry is None:
            continue
        found[at] = _made_from(past, entry)
        waiting += [link.entry.id for link in found[at].sources]
    return list(found.values())


def _made_from(past: Past, entry: CommitEntry) -> MadeFrom:
    stamp = entry.stamp
    if stamp is None:
        return MadeFrom(entry)
    try:
        files = sorted(reads(stamp, past.repository.files(stamp.input_ref, "/")))
    except StoreError:  # the input is gone
        return MadeFrom(entry)
    links: dict[str, tuple[CommitEntry, list[str]]] = {}
    for origin in origins(past, stamp.input_ref, files[:MAX_FILES]):
        links.setdefault(origin.entry.id, (origin.entry, []))[1].append(origin.path)
    newest_first = sorted(links.values(), key=lambda link: link[0].time, reverse=True)
    sources = tuple(Link(source, tuple(paths)) for source, paths in newest_first)
    return MadeFrom(entry, sources, max(0, len(files) - MAX_FILES))


def made_of(past: Past, commit_id: str, paths: Sequence[str] | None = None) -> list[MadeFrom]:
    """What was made of a commit, and of that, and so on, on all branches that have it; oldest first.

    Args:
        commit_id: full id.
        paths: only of these files of it. Default: all that it changed.
    """
    found: dict[str, MadeFrom] = {}
    for branch in past.repository.branches()[:MAX_BRANCHES]:
        for each in _made_on(past, past.head(branch), commit_id, paths):
            found.setdefault(each.entry.id, each)
            if len(found) >= MAX_COMMITS:
                return list(found.values())
    return list(found.values())


def _made_on(past: Past, head: str, commit_id: str, paths: Sequence[str] | None) -> Iterator[MadeFrom]:
    steps = _since(past, head, commit_id)
    if not steps:
        return
    line = _Line.since(past, steps[0], past.whole(steps[0]).written if paths is None else paths)
    linked = {commit_id: steps[0].entry}
    for position, step in enumerate(steps[1:], 1):
        line.positions[step.entry.id] = position
        links = _links(line, step.entry)
        if links:
            linked[step.entry.id] = step.entry
            sources = tuple(Link(linked[source], tuple(sorted(names))) for source, names in links.items())
            yield MadeFrom(step.entry, sources)
        changes = past.whole(step)
        for path in changes.written if links else ():
            line.writers[path].append((position, step.entry.id))
        line.overwrite(past, step, position, changes.removed if links else changes.paths)


def _since(past: Past, head: str, commit_id: str) -> list[Step]:
    """The commits of a line from a commit to a head, oldest first; empty if the line does not have it."""
    return past.stepped(past.line_to(head, commit_id))[::-1]


def _links(line: _Line, entry: CommitEntry) -> dict[str, list[str]]:
    """By which files a commit was made of those that are looked for."""
    stamp = entry.stamp
    position = None if stamp is None else line.positions.get(stamp.input_ref)
    if stamp is None or position is None:
        return {}
    links: dict[str, list[str]] = defaultdict(list)
    for path in reads(stamp, line.writers.keys()):
        writer = line.writer(path, position)
        if writer is not None:
            links[writer].append(path)
    return links


# ---------------------------------------------------------------- the nearest ones alone, for a page


@dataclass(frozen=True)
class Nearest:
    """The commits that a commit was made from, or that were made from it, without what those lead to.

    Attributes:
        is_cut: there may be more among the commits that were not looked at.
    """

    links: tuple[Link, ...]
    is_cut: bool


def nearest_sources(past: Past, entry: CommitEntry, *, commits: int) -> Nearest:
    """What a commit was made from, newest first, as far as the newest commits before it tell.

    Args:
        commits: how many of them are looked at. Files that are older than these are left out.
    """
    stamp = entry.stamp
    if stamp is None:
        return Nearest((), is_cut=False)
    line = list(islice(past.line(stamp.input_ref), commits))
    steps = past.stepped_in_time(line)
    newest: dict[str, tuple[CommitEntry, bool]] = {}
    is_followed, brought = True, set[str]()
    for step in steps:
        is_followed = is_followed and step.changes.is_whole  # else it costs too much to know what came from where
        is_brought = is_followed and bool(heads_brought(past, step.entry))
        written = frozenset(step.changes.written)
        for path in step.changes.paths:
            if path not in newest:
                newest[path] = (step.entry, path in written)
                if is_brought:
                    brought.add(path)
    there = [path for path, (_, is_written) in newest.items() if is_written]
    files = reads(stamp, there)[:MAX_FILES]
    links: dict[str, tuple[CommitEntry, list[str]]] = {}
    sources = {path: newest[path][0] for path in files}
    if brought.intersection(files):
        sources |= {each.path: each.entry for each in origins(past, stamp.input_ref, brought.intersection(files))}
    for path, source in sources.items():
        links.setdefault(source.id, (source, []))[1].append(path)
    newest_first = sorted(links.values(), key=lambda link: link[0].time, reverse=True)
    is_cut = len(steps) < len(line) or (len(line) == commits and bool(line[-1].parents))
    return Nearest(tuple(Link(source, tuple(sorted(paths))) for source, paths in newest_first), is_cut=is_cut)


def nearest_results(past: Past, commit_id: str, *, commits: int) -> Nearest:
    """The commits that read a file which a commit has written, oldest first, among the next ones on each branch.

    Args:
        commits: how many of a branch are looked at. Of the files those are looked for that the index keeps.
    """
    found: dict[str, Link] = {}
    is_cut = False
    for branch in past.repository.branches()[:MAX_BRANCHES]:
        line = past.line_to(past.head(branch), commit_id, nearest=commits + 1)[::-1]
        steps = past.stepped_in_time(line)
        is_cut = is_cut or len(line) > commits or len(steps) < len(line)
        for link in _made_directly(past, steps):
            if len(found) >= MAX_COMMITS:
                return Nearest(tuple(found.values()), is_cut=True)
            found.setdefault(link.entry.id, link)
    return Nearest(tuple(found.values()), is_cut=is_cut)


def _made_directly(past: Past, steps: Sequence[Step]) -> Iterator[Link]:
    """What was made of the first of some steps, which follow each other."""
    if not steps:
        return
    line = _Line.since(past, steps[0], sorted(steps[0].changes.written))
    mine = list(line.writers)
    readable: dict[str, list[str]] = {}
    for position, step in enumerate(steps[1:], 1):
        line.positions[step.entry.id] = position
        stamp = step.entry.stamp
        at = None if stamp is None else line.positions.get(stamp.input_ref)
        if stamp is not None and at is not None:
            key = repr((stamp.selection, stamp.is_by_command))
            if key not in readable:
                readable[key] = reads(stamp, mine)
            paths = [path for path in readable[key] if line.writer(path, at)]
            if paths:
                yield Link(step.entry, tuple(paths))
        line.overwrite(past, step, position, past.whole(step).paths)
