"""The earlier results of a repository, as a simulated machine knows them: production's index, read over the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perago.index.results import WAIT_SECONDS, IndexedResults
from perago.ports import CommitEntry, EarlierResult, ReusableStore
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec
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
        found = [*store.commits_since(repository, self.machine.known.__contains__)]
        results = self.machine.index.with_key(_Read(store, found), repository, key)
        self.machine.known.update(entry.id for entry in found)
        return results

    def of_task(self, repository: str, task: str, /) -> Sequence[CommitEntry]:
        return self.machine.index.of_task(repository, task)

    def standing(self, repository: str, commit: str, /) -> str:
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


@dataclass(frozen=True)
class _Read:
    """A store whose new commits have been read."""

    store: ReusableStore
    found: Sequence[CommitEntry]

    def commits_since(self, _repository: str, known: Callable[[str], bool], /) -> Iterator[CommitEntry]:
        return (entry for entry in self.found if not known(entry.id))

    def changes_of(self, repository: str, commits: Sequence[CommitEntry], /) -> list[Changes]:
        return self.store.changes_of(repository, commits)

    def has_same_files(self, workspace_input: WorkspaceInput, ref: str, workspace_spec: WorkspaceSpec, /) -> bool:
        return self.store.has_same_files(workspace_input, ref, workspace_spec)

    def stage_copy(
        self,
        source_ref: str,
        workspace_input: WorkspaceInput,
        workspace_spec: WorkspaceSpec,
        execution: TaskExecution,
        /,
    ) -> StagedWorkspace:
        return self.store.stage_copy(source_ref, workspace_input, workspace_spec, execution)
