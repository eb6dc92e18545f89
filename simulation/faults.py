"""Faults at the calls of an attempt: the n-th call of a store, an engine or an observer fails.

`sweep` does one run for each call, until a run has no call left for the fault. Faults are functions around calls, so
that tests can have their own.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ParamSpec, Protocol, TypeVar

from perago.errors import EngineError, StoreError
from perago.ports import (
    CleanupStaging,
    CommitEntry,
    CompleteNoopWorkspace,
    DownloadWorkspace,
    Engine,
    Event,
    ListWorkspace,
    LoadCurrentAttempt,
    LoadRecord,
    Observer,
    PublishWorkspace,
    ReadHistory,
    ReportResult,
    ReusableStore,
    StageWorkspace,
    TransactionalStore,
    ValidateReads,
    WorkspaceStore,
)
from perago.testing.clock import ManualClock
from perago.values.models import Changes, StagedWorkspace, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec

P = ParamSpec("P")
T = TypeVar("T")


class InjectedError(StoreError, EngineError):
    """The error of an injected failure: both a store's and an engine's error, as the caller expects."""


class Crash(BaseException):
    """The process of the attempt is dead. Not an `Exception`, because it is not a failure of the task."""


class Fault(Protocol):
    """Replaces a call. `call` makes the original call; a fault may make it any number of times."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


# ---------------------------------------------------------------- the kinds


def error(_call: Callable[[], T], /) -> T:
    """The call fails without effect."""
    raise InjectedError("the call failed, and nothing was done (injected)")


def lost(call: Callable[[], T], /) -> T:
    """The call is made, but its answer is lost."""
    with suppress(Exception):
        call()
    raise InjectedError("the answer was lost (injected)")


def twice(call: Callable[[], T], /) -> T:
    """The call arrives twice; the second answer counts."""
    with suppress(Exception):
        call()
    return call()


def crash(_call: Callable[[], T], /) -> T:
    """The process dies before the call takes effect.

    `Faults` blocks all later calls, so that no cleanup or report reaches store or engine. `finally` blocks still change
    local files; to test those, kill a real process.
    """
    raise Crash


def late(happening: Callable[[], object]) -> Fault:
    """Make a fault: something else happens before the call takes effect."""

    def fault(call: Callable[[], T], /) -> T:
        happening()
        return call()

    return fault


def delayed(clock: ManualClock, seconds: float) -> Fault:
    """Make a fault: time passes before the call takes effect."""
    return late(lambda: clock.advance(seconds))


# ---------------------------------------------------------------- taps


@dataclass(frozen=True, kw_only=True)
class TappedStore:
    """A `ports.WorkspaceStore` whose calls go through a tap."""

    download_workspace: DownloadWorkspace
    list_workspace: ListWorkspace
    stage_workspace: StageWorkspace
    publish_workspace: PublishWorkspace
    cleanup_staging: CleanupStaging
    complete_noop_workspace: CompleteNoopWorkspace
    read_history: ReadHistory
    validate_reads: ValidateReads


@dataclass(frozen=True, kw_only=True)
class TappedTransactionalStore(TappedStore):
    """The same of a `ports.TransactionalStore`."""

    create_run_branch: Callable[[str, str, str], str]
    changes_of_run: Callable[[WorkspaceInput, str], Changes]
    stage_run: Callable[[WorkspaceInput, str, TaskExecution], StagedWorkspace]


@dataclass(frozen=True, kw_only=True)
class TappedReusableStore(TappedTransactionalStore):
    """The same of one that is a `ports.ReusableStore`, too."""

    commits_since: Callable[[str, Callable[[str], bool]], Iterator[CommitEntry]]
    changes_of: Callable[[str, Sequence[CommitEntry]], list[Changes]]
    has_same_files: Callable[[WorkspaceInput, str, WorkspaceSpec], bool]
    stage_copy: Callable[[str, WorkspaceInput, WorkspaceSpec, TaskExecution], StagedWorkspace]


def ports_of(store: WorkspaceStore) -> TappedStore:
    """The callables of a store, to be replaced."""
    tapped = TappedStore(
        download_workspace=store.download_workspace,
        list_workspace=store.list_workspace,
        stage_workspace=store.stage_workspace,
        publish_workspace=store.publish_workspace,
        cleanup_staging=store.cleanup_staging,
        complete_noop_workspace=store.complete_noop_workspace,
        read_history=store.read_history,
        validate_reads=store.validate_reads,
    )
    if not isinstance(store, TransactionalStore):
        return tapped
    whole = TappedTransactionalStore(
        **vars(tapped),
        create_run_branch=store.create_run_branch,
        changes_of_run=store.changes_of_run,
        stage_run=store.stage_run,
    )
    if not isinstance(store, ReusableStore):
        return whole

    def commits_since(repository: str, known: Callable[[str], bool]) -> Iterator[CommitEntry]:
        return iter([*store.commits_since(repository, known)])  # one answer, as of when it was asked for

    return TappedReusableStore(
        **vars(whole),
        commits_since=commits_since,
        changes_of=store.changes_of,
        has_same_files=store.has_same_files,
        stage_copy=store.stage_copy,
    )


@dataclass(frozen=True, kw_only=True)
class TappedEngine:
    """A `ports.Engine` whose calls go through a tap."""

    load_current_attempt: LoadCurrentAttempt
    load_record: LoadRecord
    report_result: ReportResult


class Tap(ABC):
    """A layer between an attempt and its ports; every call goes through `meet`."""

    @abstractmethod
    def meet(self, point: str, call: Callable[[], T]) -> T:
        """Answer a call. `point` is the name of a port, or for an observer `<phase>.<kind of event>`."""

    def store(self, store: WorkspaceStore) -> TappedStore:
        ports = ports_of(store)
        return replace(ports, **{name: self._tap(name, port) for name, port in vars(ports).items()})

    def engine(self, engine: Engine) -> TappedEngine:
        return TappedEngine(
            load_current_attempt=self._tap("load_current_attempt", engine.load_current_attempt),
            load_record=self._tap("load_record", engine.load_record),
            report_result=self._tap("report_result", engine.report_result),
        )

    def observer(self, observer: Observer) -> Observer:
        def observe(event: Event, /) -> None:
            self.meet(f"{event.phase}.{event.kind}", lambda: observer(event))

        return observe

    def _tap(self, point: str, port: Callable[P, T]) -> Callable[P, T]:
        def tapped(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.meet(point, lambda: port(*args, **kwargs))

        return tapped


class Faults(Tap):
    """Counts calls from 1, and applies the faults of `plan`.

    Store, engine and observer of one run share one object; so do several tries, if a fault hits a later one.
    Thread-safe.

    Attributes:
        points: names of the calls so far. Without faults, these are the points to sweep.
        fired: numbers of the calls with a fault.
        is_dead: whether a `Crash` was raised; every later call raises one, too.
    """

    def __init__(self, plan: Mapping[int, Fault] | None = None) -> None:
        self.points: list[str] = []
        self.fired: list[int] = []
        self.is_dead = False
        self._plan = dict(plan or {})
        self._lock = threading.Lock()

    def meet(self, point: str, call: Callable[[], T]) -> T:
        if self.is_dead:
            raise Crash
        fault = self._next(point)
        try:
            return call() if fault is None else fault(call)
        except Crash:
            self.is_dead = True
            raise

    def restart(self) -> None:
        """Another process takes over: calls are answered again, and the count continues."""
        self.is_dead = False

    def _next(self, point: str) -> Fault | None:
        with self._lock:
            self.points.append(point)
            number = len(self.points)
            fault = self._plan.get(number)
            if fault is not None:
                self.fired.append(number)
            return fault


def sweep(run: Callable[[int], Faults]) -> int:
    """Do one run with a fault at the first call, one with a fault at the second, and so on until there is no call left.

    Args:
        run: does a complete new run with the fault at the call of this number; returns its `Faults`.

    Returns:
        The number of calls.
    """
    number = 1
    while run(number).fired:
        number += 1
    return number - 1
