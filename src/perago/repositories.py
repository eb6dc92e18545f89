"""A repository as the commands see it: what they ask of a store besides the ports of an attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from perago.findings import Finding
from perago.history import Stamp
from perago.models import Changes
from perago.ports import WorkspaceStore
from perago.spec import WorkspaceSpec

AttemptLiveness = Callable[[Stamp], Literal["alive", "dead", "unknown"]]
"""Whether the attempt that made a stamp is at work, as far as its engine can tell."""


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One commit.

    Attributes:
        id, parents: full commit ids.
        author: name of the author; time: of the commit, UTC.
        subject: first line of the message.
        stamp: what it says of itself, if it counts: a copied one does not.
        added, modified, deleted: number of paths changed since the first parent.
    """

    id: str
    parents: tuple[str, ...]
    author: str
    time: datetime
    subject: str
    stamp: Stamp | None
    added: int
    modified: int
    deleted: int


_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The times that Python has in every zone."""


def commit_time(seconds: int) -> datetime:
    """The time of a commit, given in seconds since the epoch; where it is none that Python has, the nearest to it."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST.timestamp()), _LAST.timestamp()), UTC)


class Repository(WorkspaceStore, Protocol):
    """One repository of a store."""

    def branch_head(self, branch: str) -> str | None:
        """Full id of the commit that a branch points at; None where there is no such branch."""
        ...

    def branches(self) -> list[str]:
        """Names of all branches that people work on, sorted.

        Raises:
            RepositoryNotFoundError
        """
        ...

    def resolve(self, ref: str) -> str:
        """Full id of the commit that a branch, a tag or the beginning of an id names.

        Raises:
            RefNotFoundError: it names nothing, or more than one commit.
        """
        ...

    def import_directory(
        self, source: Path, branch: str, message: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> str | None:
        """Put a directory's files onto a branch below `spec.prefix`, in one commit without a stamp.

        A branch that is not there is made.

        Args:
            spec: prefix, include and exclude count: what is not selected stays as it is. Default: everything.
            mirror: selected files that the directory does not have are deleted; else they stay.

        Returns:
            the full id of the branch's new head, or None where nothing differs.

        Raises:
            WorkspaceError: the directory holds what cannot be stored, or a file where the branch keeps a directory, or
                the other way round.
            HeadMovedError: the branch moved again and again.
        """
        ...

    def compare_directory(
        self, source: Path, branch: str, *, spec: WorkspaceSpec | None = None, mirror: bool = False
    ) -> Changes:
        """What `import_directory` would change, by path below `spec.prefix`; nothing is written.

        `deleted` names what the directory does not have, without `mirror` too.

        Raises:
            WorkspaceError: as `import_directory`.
        """
        ...

    def export(self, ref: str, prefix: str, target: Path) -> int:
        """Lay out a commit's files below a new or empty directory; returns how many.

        Raises:
            RefNotFoundError: `ref` is no full commit id, or there is no such commit.
            PrefixNotFoundError: there is nothing below the prefix.
            ObjectNameError: a name that cannot be laid out; nothing was written.
            WorkspaceStorageError: the directory is not empty, or cannot be written.
        """
        ...

    def log(self, ref: str, limit: int) -> Iterator[LogEntry]:
        """The commit `ref` and its first parents, newest first, at most `limit` of them."""
        ...

    def sweep(self, older_than_seconds: float) -> object:
        """Remove what killed attempts left staged longer ago than this."""
        ...

    def examine(
        self,
        *,
        older_than_seconds: float,
        liveness_of: AttemptLiveness = ...,
        living_since: float | None = None,
        deep: bool = False,
    ) -> Iterator[Finding]:
        """Find what killed attempts left, and what is missing or damaged; nothing is changed.

        Args:
            older_than_seconds: age of what counts as left behind where nothing else tells.
            living_since: when the oldest attempt began that may be at work; seconds since the epoch.
            deep: read content too, where that can tell something.
        """
        ...
