"""Faults at the calls of an attempt: the n-th call of a store, an engine or an observer meets one.

A run without faults says how many calls there are; `sweep` then goes through them, one run for each, until a fault
finds no call left. What a fault does is a function around the call, so that a test can bring its own.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from perago.errors import EngineError, StoreError
from perago.ports import (
    CleanupStaging,
    CompleteNoopWorkspace,
    DownloadWorkspace,
    Engine,
    Event,
    LoadCurrentAttempt,
    LoadRecord,
    Observer,
    PublishWorkspace,
    ReadHistory,
    ReportResult,
    StageWorkspace,
    WorkspaceStore,
)
from perago.testing.clock import ManualClock

P = ParamSpec("P")
T = TypeVar("T")


class InjectedError(StoreError, EngineError):
    """What a call raises that a test made fail: a store's error and an engine's, whichever the caller expects."""


class Crash(BaseException):
    """The process of the attempt is dead. Not an `Exception`: whoever takes it for a failure of the task is wrong."""


class Fault(Protocol):
    """What happens instead of a call. `call` makes it; it may be made never, once or more often."""

    def __call__(self, call: Callable[[], T], /) -> T: ...


# ---------------------------------------------------------------- the kinds


def error(_call: Callable[[], T], /) -> T:
    """The call fails before it has any effect."""
    raise InjectedError("the call failed, and nothing was done (injected)")


def lost(call: Callable[[], T], /) -> T:
    """The call is made, and its answer is lost, whatever it was."""
    with suppress(Exception):
        call()
    raise InjectedError("the answer was lost (injected)")


def twice(call: Callable[[], T], /) -> T:
    """The call arrives twice; the second answer counts."""
    with suppress(Exception):
        call()
    return call()


def crash(_call: Callable[[], T], /) -> T:
    """The process dies before the call has any effect.

    `Faults` lets no later call through, so that nothing which only a living process does (cleaning, reporting) reaches
    store or engine. What `finally` does to local files still happens: for those, kill a real process.
    """
    raise Crash


def late(happening: Callable[[], object]) -> Fault:
    """A fault: the call is under way for long, and something else happens before it has its effect."""

    def fault(call: Callable[[], T], /) -> T:
        happening()
        return call()

    return fault


def delayed(clock: ManualClock, seconds: float) -> Fault:
    """A fault: time passes before the call has its effect."""
    return late(lambda: clock.advance(seconds))


# ---------------------------------------------------------------- where they hang


@dataclass(frozen=True, kw_only=True)
class TappedStore:
    """A `ports.WorkspaceStore` whose calls go through a tap."""

    download_workspace: DownloadWorkspace
    stage_workspace: StageWorkspace
    publish_workspace: PublishWorkspace
    cleanup_staging: CleanupStaging
    complete_noop_workspace: CompleteNoopWorkspace
    read_history: ReadHistory


@dataclass(frozen=True, kw_only=True)
class TappedEngine:
    """A `ports.Engine` whose calls go through a tap."""

    load_current_attempt: LoadCurrentAttempt
    load_record: LoadRecord
    report_result: ReportResult


class Tap(ABC):
    """Stands between an attempt and its ports; every call goes through `meet`."""

    @abstractmethod
    def meet(self, point: str, call: Callable[[], T]) -> T:
        """Answer a call. `point` names it: a port's name, or for an observer `<phase>.<kind of event>`."""

    def store(self, store: WorkspaceStore) -> TappedStore:
        return TappedStore(
            download_workspace=self._tap("download_workspace", store.download_workspace),
            stage_workspace=self._tap("stage_workspace", store.stage_workspace),
            publish_workspace=self._tap("publish_workspace", store.publish_workspace),
            cleanup_staging=self._tap("cleanup_staging", store.cleanup_staging),
            complete_noop_workspace=self._tap("complete_noop_workspace", store.complete_noop_workspace),
            read_history=self._tap("read_history", store.read_history),
        )

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
    """Counts the calls that go through it, from 1; those that `plan` names meet their fault.

    Store, engine and observer of one run share one object, and so do several tries where a fault is to hit a later one.
    Safe to share between threads.

    Attributes:
        points: names of the calls so far; without faults, that is what there is to sweep.
        fired: numbers of the calls that met their fault.
        is_dead: a `Crash` came up; every call since then raised another one.
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
        """Another process takes over: calls get through again, and the count goes on."""
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
    """Do a run with a fault at its first call, another with it at its second, and so on until it meets none.

    Args:
        run: does a whole run, everything made anew, whose call of this number meets the fault; returns its `Faults`.

    Returns:
        how many calls met the fault.
    """
    number = 1
    while run(number).fired:
        number += 1
    return number - 1
