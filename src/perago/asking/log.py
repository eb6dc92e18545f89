"""Which commits of a branch somebody asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from perago.asking.past import Past, Step
from perago.asking.paths import pattern_of
from perago.errors import TaskInputError
from perago.ports import CommitEntry, LogEntry
from perago.running.history import published_run
from perago.values.history import Stamp
from perago.values.names import name_fault
from perago.workspace.patterns import WILDCARDS, Selection

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_CLOCKS_DIFFER = timedelta(days=1)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a commit must have; what is None or empty is not looked at.

    Attributes:
        paths: patterns, as for a workspace; one of them matches a path that the commit changed. A directory stands for
            all below it.
        task: name of the task; or of the workflow, if a transactional run was published as a whole. Such a commit is
            also one of each task of the run.
        run: id of the run or instance, or the beginning of one.
        author: part of the author's name, in any case.
        since, until: the range of its time.
    """

    paths: tuple[str, ...] = ()
    task: str | None = None
    run: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def has(self, entry: CommitEntry) -> bool:
        """Whether a commit has all that but the paths."""
        stamp = entry.stamp
        if self.task is not None:
            whole = None if stamp is None else published_run(stamp)
            names = () if stamp is None else (stamp.task, None if whole is None else whole.workflow)
            if self.task not in names:
                return False
        if self.run is not None and (stamp is None or not stamp.logical_task[0].startswith(self.run)):
            return False
        if self.author is not None and self.author.casefold() not in entry.author.casefold():
            return False
        return (self.since is None or entry.time >= self.since) and (self.until is None or entry.time <= self.until)

    def is_before(self, time: datetime) -> bool:
        """Whether a commit and all before it are too old. The clocks of hosts differ, by less than a day."""
        return self.since is not None and time < self.since - _CLOCKS_DIFFER


def steps_of(past: Past, start: str, wanted: Wanted) -> Iterator[tuple[Step, UndoneBy]]:
    """The commits of the line from `start` that somebody wants, newest first, each with what undid it on this line."""
    undone = Undone()
    for entry, is_wanted in judged(past, start, wanted):
        by = undone.by(entry.id, entry.stamp)
        if is_wanted:
            [step] = past.stepped([entry])
            yield step, by


def judged(past: Past, start: str, wanted: Wanted) -> Iterator[tuple[CommitEntry, bool]]:
    """The commits of the line from `start`, newest first, and whether somebody wants them. Ends where none can be."""
    patterns = [pattern_of(path) for path in wanted.paths]
    selection, prefix = Selection(patterns), _only_file(past, start, patterns)
    candidates: Iterator[tuple[CommitEntry, Step | None]] = (
        ((step.entry, step) for step in past.steps(start, prefix=prefix))
        if wanted.paths
        else ((entry, None) for entry in past.line(start))
    )
    for entry, step in candidates:
        if wanted.is_before(entry.time):
            return
        yield entry, _has(past, wanted, entry) and (step is None or _touches(past, step, selection, prefix))


def _has(past: Past, wanted: Wanted, entry: CommitEntry) -> bool:
    """Whether a commit has what is wanted but the paths; itself, or by a task whose run it publishes as a whole."""
    if wanted.has(entry):
        return True
    if wanted.task is None or not replace(wanted, task=None).has(entry):
        return False
    return any(wanted.task == made.stamp.task for made in past.by_tasks(entry) if made.stamp is not None)


def _only_file(past: Past, commit_id: str, patterns: Sequence[str]) -> str:
    """The file that is all that some patterns name in a commit; "" if there is more, or none."""
    if len(patterns) != 1 or WILDCARDS.intersection(patterns[0]) or name_fault(patterns[0]) is not None:
        return ""
    return patterns[0] if past.repository.find_file(commit_id, patterns[0]) is not None else ""


def _touches(past: Past, step: Step, selection: Selection, prefix: str) -> bool:
    """Whether a commit changed a path of a selection, which all begin with `prefix`."""
    return any(map(selection.selects, step.changes.paths)) or (
        not step.changes.is_whole and any(map(selection.selects, past.whole(step, prefix).paths))
    )


class UndoneBy(NamedTuple):
    """Full ids of the commits that revert a commit, and that distrust its result; None if there is none."""

    reverted_by: str | None
    distrusted_by: str | None


class Undone:
    """What commits of a line say of older ones by `perago revert` and `perago distrust`. Meets the newest first."""

    def __init__(self) -> None:
        self._reverted: dict[str, str] = {}
        self._distrusted: dict[str, str | None] = {}

    def by(self, commit_id: str, stamp: Stamp | None) -> UndoneBy:
        """What undid a commit, the newest ones. A revert that is itself reverted, and a distrust that somebody took
        back, do not count."""
        found = UndoneBy(self._reverted.get(commit_id), self._distrusted.get(commit_id))
        if stamp is not None:
            for undone in stamp.reverts if found.reverted_by is None else ():
                self._reverted.setdefault(undone, commit_id)
            if stamp.distrusts is not None:
                self._distrusted.setdefault(stamp.distrusts, commit_id)
            if stamp.trusts is not None:
                self._distrusted.setdefault(stamp.trusts, None)
        return found


def as_log_entry(step: Step) -> LogEntry:
    """A commit as `Repository.log` lists it."""
    entry, changes = step.entry, step.changes
    return LogEntry(
        id=entry.id,
        parents=entry.parents,
        author=entry.author,
        time=entry.time,
        subject=entry.subject,
        stamp=entry.stamp,
        added=changes.added,
        modified=changes.modified,
        deleted=changes.deleted,
    )


def read_time(text: str, now: datetime) -> datetime:
    """A time in ISO 8601, in this host's time zone unless it has one; or how long ago: `30m`, `12h`, `7d`, `2w`.

    Raises:
        TaskInputError: it is neither.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TaskInputError(
            f"{text!r} is not a time; write a date such as 2026-11-29, a time such as 2026-11-29T12:00, or how long "
            f"ago, such as 7d"
        ) from None
