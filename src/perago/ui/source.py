"""What the pages read: the runs recorded on this host, and the history of one repository. Any thread may ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perago.engines.local import LocalEngine, RunSummary
from perago.engines.local.summary import KILLED, RUNNING
from perago.running.repos.address import local_engine
from perago.stores.provider import RepositoryAddress

if TYPE_CHECKING:
    from perago.asking.past import Past

_SECOND = len("20260101-000000")


class NoRepositoryError(Exception):
    """A page needs a repository, and none was given."""


class Source:
    """The runs on a repository, and its history.

    Args:
        address: None for the runs of tasks without a workspace, without a repository.
        branch: the branch to show unless another one is named.
        root: the workspace root of this host's worker; None for none.
    """

    def __init__(self, address: RepositoryAddress | None, branch: str, root: Path | None = None) -> None:
        self.address = address
        self.branch = branch
        self.root = root
        self.engine: LocalEngine = local_engine(address)
        self._listing = threading.Lock()
        self._known: dict[str, tuple[object, RunSummary]] = {}

    @property
    def name(self) -> str:
        """Name of the repository for people."""
        return "no repository" if self.address is None else self.address.argument

    @contextmanager
    def past(self) -> Iterator[Past]:
        """The history of the repository as of now, for one thread.

        Raises:
            NoRepositoryError: the page was started without one.
            RepositoryNotFoundError, StoreError: it cannot be read.
        """
        from perago.asking.past import open_past

        if self.address is None:
            raise NoRepositoryError("there is no repository to show; start `perago ui --repo REPO`")
        with open_past(self.address) as past:
            yield past

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
        return sorted(found, key=_age, reverse=True)


def _age(summary: RunSummary) -> tuple[str, float, str]:
    started = 0.0 if summary.started is None else summary.started.timestamp()
    return summary.run_id[:_SECOND], started, summary.run_id
