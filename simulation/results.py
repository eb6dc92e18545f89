"""The earlier results of a repository, as a simulated machine knows them: production's index, read over the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perago.index.results import WAIT_SECONDS, IndexedResults
from perago.ports import CommitEntry, EarlierResult, ReusableStore
from simulation.baton import Baton, Process

POLL_SECONDS = 0.5
"""Between two looks whether another process still computes a result: fewer than in production, for the same order."""


@dataclass(frozen=True)
class MachineResults:
    """The index of one machine, which outlives its workers, and the locks of those who compute.

    Args:
        directory: of the index.
        count: called with what happened.
    """

    directory: Path
    baton: Baton
    count: Callable[[str], None]
    known: set[str] = field(default_factory=set)
    holders: dict[str, Process] = field(default_factory=dict)

    def of(self, process: Process) -> ProcessResults:
        """The results, for a process of this machine."""
        return ProcessResults(self, process)

    @property
    def index(self) -> IndexedResults:
        return IndexedResults(self.directory, "simulated", is_server=True)

    def is_held(self, key: str) -> bool:
        """Whether a live process holds the lock of a key; that of a dead one is free."""
        return key in self.holders and not self.holders[key].is_dead


@dataclass(frozen=True)
class ProcessResults:
    """`EarlierResults` for one process."""

    machine: MachineResults
    process: Process

    def with_key(self, store: ReusableStore, repository: str, key: str, /) -> Sequence[EarlierResult]:
        """Reads the history first, which takes time, and only then the index, which nobody may be kept waiting for."""
        met: list[str] = []

        def is_known(commit: str) -> bool:
            if commit in self.machine.known:
                met.append(commit)
            return commit in self.machine.known

        found = [*store.commits_since(repository, is_known)]

        def since(known: Callable[[str], bool]) -> Iterator[CommitEntry]:
            """As the store would list them, which asks for those that it meets, too."""
            yield from (entry for entry in found if not known(entry.id))
            for commit in met:
                known(commit)

        with self.machine.index.open(repository) as index:
            index.refresh(since)
        results = self.machine.index.as_known().with_key(store, repository, key)
        self.machine.known.update(entry.id for entry in found)
        return results

    def of_task(self, repository: str, task: str, /) -> Sequence[CommitEntry]:
        return self.machine.index.of_task(repository, task)

    def standing(self, repository: str, commit: str, /) -> str | None:
        return self.machine.index.standing(repository, commit)

    @contextmanager
    def computing(self, repository: str, key: str, is_cancelled: Callable[[], bool], /) -> Iterator[bool]:
        """As `IndexedResults.computing`, under the virtual clock."""
        del repository
        machine, has_waited = self.machine, False
        deadline = machine.baton.now + WAIT_SECONDS
        while machine.is_held(key) and machine.baton.now < deadline and not is_cancelled():
            has_waited = True
            machine.baton.pause(POLL_SECONDS)
        if has_waited:
            machine.count("cached: waited for another")
        is_holder = not machine.is_held(key)
        if is_holder:
            machine.holders[key] = self.process
        try:
            yield has_waited
        finally:
            if is_holder and machine.holders.get(key) is self.process:
                del machine.holders[key]
