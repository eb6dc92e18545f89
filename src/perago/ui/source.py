"""What the pages read: the runs recorded on this host, and one repository. Any thread may ask."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from perago.engines.local import LocalEngine, RunSummary
from perago.engines.local.summary import KILLED, RUNNING
from perago.errors import RuntimeConfigError, WorkspaceStorageError
from perago.ports import CommitEntry, ReusableStore
from perago.running.cache import results_of
from perago.running.repos.address import local_engine
from perago.stores.provider import RepositoryAddress

if TYPE_CHECKING:
    from perago.ports import Repository


_NO_REPOSITORY = "there is no repository to show; start `perago ui --repo REPO`"


class Source:
    """The runs on a repository, and the repository.

    Args:
        address: None for the runs of tasks without a workspace, without a repository.
        branch: the branch to show unless another one is named.
    """

    def __init__(self, address: RepositoryAddress | None, branch: str) -> None:
        self.address = address
        self.branch = branch
        self.engine: LocalEngine = local_engine(address)
        self._stack = ExitStack()
        self._repository: Repository | None = None
        self._reading = threading.RLock()
        self._listing = threading.Lock()
        self._known: dict[str, tuple[object, RunSummary]] = {}

    def __enter__(self) -> Self:
        if self.address is not None:
            self._repository = self._stack.enter_context(self.address.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def name(self) -> str:
        """Name of the repository for people."""
        return "no repository" if self.address is None else self.address.argument

    @property
    def expected_address(self) -> RepositoryAddress:
        """The address of the repository.

        Raises:
            NoRepositoryError: the page was started without one.
        """
        if self.address is None:
            raise NoRepositoryError(_NO_REPOSITORY)
        return self.address

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        """The repository, for this thread alone: a store is not for several at a time.

        Raises:
            NoRepositoryError: the page was started without one.
        """
        if self._repository is None:
            raise NoRepositoryError(_NO_REPOSITORY)
        with self._reading:
            yield self._repository

    def commits(self, ids: Iterable[str]) -> dict[str, CommitEntry]:
        """What the index of the history knows of some commits, by their full ids. Others are left out.

        Raises:
            StoreError: the history cannot be read.
        """
        results = None if self.address is None else results_of(self.address)
        if self.address is None or results is None:
            return {}
        name = self.address.name
        with suppress(WorkspaceStorageError, RuntimeConfigError), results.open(name) as index:
            with self.repository() as repository:
                if isinstance(repository, ReusableStore):
                    index.refresh(partial(repository.commits_since, name))
            return {entry.id: entry for one in ids if (entry := index.commit(one)) is not None}
        return {}  # the index cannot be used; what it adds is left out

    def runs(self) -> list[RunSummary]:
        """All recorded runs, newest first. Reads again only the records that have changed.

        Raises:
            EngineError: the records cannot be read.
        """
        with self._listing:
            known = self._known
            self._known = {}
            for run_id in self.engine.run_ids():
                version = self.engine.version(run_id)
                before = known.get(run_id)
                if before is not None and before[0] == version and before[1].status not in (RUNNING, KILLED):
                    self._known[run_id] = before
                elif (summary := self.engine.summary(run_id)) is not None:
                    self._known[run_id] = (version, summary)
            found = [summary for _, summary in self._known.values()]
        return sorted(found, key=_newest_first, reverse=True)


class NoRepositoryError(Exception):
    """A page needs a repository, and none was given."""


def _newest_first(summary: RunSummary) -> tuple[str, float, str]:
    second = summary.run_id[: len("20260101-000000")]
    return second, 0.0 if summary.started is None else summary.started.timestamp(), summary.run_id
