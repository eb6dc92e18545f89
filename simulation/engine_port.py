"""A worker's engine: the simulated server behind the network, and its leases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from perago.engines.conductor.lease import FRACTION, heartbeat_interval, pause_before_heartbeat
from perago.errors import EngineError, TaskNotFoundError
from perago.ports import HandedOut
from perago.testing.engine import MemoryAttempt
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord
from simulation.baton import Baton, Signal
from simulation.network import Caller, Network
from simulation.servers import SimulatedEngine

T = TypeVar("T")


class SimulatedLease:
    """A lease kept by heartbeats, with production's decisions on when."""

    def __init__(
        self, baton: Baton, caller: Caller, attempt: HandedOut, send: Callable[[], None], *, at_once: bool
    ) -> None:
        self._baton = baton
        self._send = send
        self._interval = heartbeat_interval(attempt.response_timeout_seconds)
        self._last = baton.now - (self._interval if at_once else 0.0)
        self._failures = 0
        self._is_stopping = False
        self._stopping = Signal(baton)
        self._ended = Signal(baton)
        self._is_over = False
        name = f"{caller.worker.name}:lease:{attempt.task_id}"
        baton.spawn(name, caller.worker, self._beat)

    @property
    def is_late(self) -> bool:
        return self._is_stopping or self._baton.now - self._last > self._interval * (FRACTION - 1)

    @property
    def is_retrying(self) -> bool:
        return self._failures > 0 and not self._is_stopping and not self._is_over

    @property
    def is_stopped(self) -> bool:
        return self._is_over

    def let_go(self) -> None:
        self._is_stopping = True
        self._stopping.set()

    def stop(self) -> None:
        self.let_go()
        self.join()

    def join(self) -> None:
        """Wait for the heartbeat in flight."""
        while not self._is_over:
            self._ended.wait()

    def _beat(self) -> None:
        while not self._is_stopping:
            silent = self._baton.now - self._last
            if self._stopping.wait(pause_before_heartbeat(self._interval, silent, self._failures)):
                break
            sent = self._baton.now
            try:
                self._send()
            except TaskNotFoundError:
                break
            except EngineError:
                self._failures += 1
            else:
                self._last, self._failures = sent, 0
        self._is_over = True
        self._ended.set()


class EnginePort:
    """A `ports.WorkerEngine` of one worker.

    Args:
        caller_for: who calls for an attempt.

    Attributes:
        returning: attempts that are being given back.
    """

    def __init__(
        self, server: SimulatedEngine, network: Network, caller_for: Callable[[Attempt | None], Caller]
    ) -> None:
        self._server = server
        self._network = network
        self._caller_for = caller_for
        self.returning: list[Attempt] = []

    def load_current_attempt(self, attempt: Attempt, /) -> MemoryAttempt:
        return self._call("load_current_attempt", attempt, lambda: self._server.tasks.load_current_attempt(attempt))

    def load_record(self, attempt: Attempt, paths: Collection[str] = (), /) -> InstanceRecord:
        return self._call("load_record", attempt, lambda: self._server.tasks.load_record(attempt, paths))

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult, /) -> None:
        self._call("report_result", attempt, lambda: self._server.report(attempt, result))

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> MemoryAttempt | None:
        def request() -> MemoryAttempt | None:
            return self._server.report_and_take(attempt, result)

        following = self._call("report_and_take", attempt, request)
        if following is not None:
            self._network.hand_over(self._caller_for(None), following)
        return following

    def poll(
        self,
        task_types: Sequence[str],
        count: int,
        worker_id: str,
        domain: str | None = None,
    ) -> Sequence[MemoryAttempt]:
        del worker_id, domain
        found = self._call("poll", None, lambda: self._server.poll(task_types, count))
        for attempt in found:
            self._network.hand_over(self._caller_for(None), attempt)
        return found

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> SimulatedLease:
        return SimulatedLease(
            self._network.baton,
            self._caller_for(attempt),
            attempt,
            lambda: self._call("heartbeat", attempt, lambda: self._server.heartbeat(attempt)),
            at_once=at_once,
        )

    def give_back(self, attempt: Attempt) -> bool:
        self.returning.append(attempt)
        try:
            return self._call("give_back", attempt, lambda: self._server.give_back(attempt))
        finally:
            self.returning.remove(attempt)

    def current_of(self, attempts: Iterable[HandedOut]) -> Mapping[str, Attempt | None]:
        return self._call("current_of", None, lambda: self._server.current_of(attempts))

    def log(self, attempt: HandedOut, text: str) -> None:
        """Nobody reads it."""

    def _call(self, point: str, attempt: Attempt | None, request: Callable[[], T]) -> T:
        return self._network.call("engine", point, self._caller_for(attempt), request)
