"""What the pages read: the runs recorded on this host, and the history of one repository. Any thread may ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perago.engines.local import LocalEngine, RunSummary
from perago.engines.local.summary import KILLED, RUNNING
from perago.errors import PeragoError
from perago.running.repos.address import local_engine
from perago.stores.provider import RepositoryAddress
from perago.values.redaction import text_of
from perago.workspace.collector import collector_paused

if TYPE_CHECKING:
    from perago.asking.past import Past
    from perago.ports import CommitEntry
    from perago.ui.conductor import ConductorRuns

_LOGGER = logging.getLogger("perago.ui")

READ_SECONDS = 0.5
"""For reading what commits changed, for a page that looks at many of them."""

READ_AT_ONCE = 4
"""Batch size for reading what commits changed in the background. Small, so that a lakeFS server can answer pages
meanwhile."""

END_SECONDS = 10.0
"""Longest wait at the end for what is read in the background: a few commits."""

_SECOND = len("20260101-000000")


class NoRepositoryError(Exception):
    """A page needs a repository, and none was given."""


class Source:
    """The runs on a repository, and its history.

    Args:
        address: None for the runs of tasks without a workspace, without a repository.
        branch: the branch to show unless another one is named.
        root: the workspace root of this host's worker; None for none.
        conductor: the runs on a server; None for those of this machine alone.
        read_seconds: limit for reading what commits changed, for one page. The rest is read in the background. Default:
            no limit.
    """

    def __init__(
        self,
        address: RepositoryAddress | None,
        branch: str,
        root: Path | None = None,
        conductor: ConductorRuns | None = None,
        *,
        read_seconds: float | None = None,
    ) -> None:
        self.address = address
        self.branch = branch
        self.root = root
        self.conductor = conductor
        self.engine: LocalEngine = local_engine(address)
        self._read_seconds = read_seconds
        self._reading = threading.Lock()
        self._reader: threading.Thread | None = None
        self._is_closing = threading.Event()
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
        is_reading = self._read_seconds is not None and self._reading.locked()
        with open_past(self.address, seconds=0.0 if is_reading else self._read_seconds) as past:
            yield past
        self._read_on(self.address, past.unread)

    def _read_on(self, address: RepositoryAddress, unread: Sequence[CommitEntry]) -> None:
        """Read what commits changed in the background, for the pages that follow. One page's commits at a time."""
        if unread and self._reading.acquire(blocking=False):
            self._reader = threading.Thread(
                target=self._read, args=(address, unread), name="perago-changes", daemon=True
            )
            self._reader.start()

    def _read(self, address: RepositoryAddress, unread: Sequence[CommitEntry]) -> None:
        from perago.asking.past import open_past

        try:
            with open_past(address) as past:
                for start in range(0, len(unread), READ_AT_ONCE):
                    if self._is_closing.is_set():
                        return
                    past.stepped(unread[start : start + READ_AT_ONCE])
        except PeragoError as exc:  # the next page that asks says so
            _LOGGER.debug("what commits changed was not read in the background: %s", text_of(exc))
        finally:
            self._reading.release()

    def close(self) -> None:
        """End what is read in the background."""
        self._is_closing.set()
        if self._reader is not None:
            self._reader.join(END_SECONDS)

    def all_runs(self) -> list[RunSummary]:
        """The runs of this machine, and those of the server as they were read last, newest first.

        Raises:
            EngineError: the records cannot be read.
        """
        return merged(self.runs(), () if self.conductor is None else self.conductor.listed().runs)

    def has_run(self, run_id: str) -> bool:
        """Whether there is a page of a run: its record is here, or it is in the server's list."""
        if self.engine.version(run_id) is not None:
            return True
        return self.conductor is not None and any(run.run_id == run_id for run in self.conductor.listed().runs)

    def runs(self) -> list[RunSummary]:
        """All recorded runs, newest first. Reads again only the records that have changed.

        Raises:
            EngineError: the records cannot be read.
        """
        with self._listing, collector_paused():
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


def merged(here: Sequence[RunSummary], there: Sequence[RunSummary]) -> list[RunSummary]:
    """Two lists of runs, each newest first, as one. A run whose start is unknown stays where it is in its list."""
    found: list[RunSummary] = []
    waiting = list(reversed(there))
    for run in here:
        while waiting and run.started is not None and (waiting[-1].started or run.started) > run.started:
            found.append(waiting.pop())
        found.append(run)
    return [*found, *reversed(waiting)]


def _age(summary: RunSummary) -> tuple[str, float, str]:
    started = 0.0 if summary.started is None else summary.started.timestamp()
    return summary.run_id[:_SECOND], started, summary.run_id
