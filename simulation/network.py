"""The calls between a worker and its servers: their duration and faults."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from perago.errors import SourceGoneError
from perago.values.models import Attempt, AttemptIdentity
from simulation.baton import Baton, Process
from simulation.checker import Call
from simulation.faults import InjectedError
from simulation.plan import ENDINGS, FAULTS, Incident

T = TypeVar("T")

LATE_SECONDS = 20.0
"""Maximum duration of a call in seconds: twice the response timeout."""

ABANDONED_SECONDS = {
    **dict.fromkeys(("create_run_branch", "publish_workspace", "stage_copy", "stage_run", "stage_workspace"), 20.0),
    "give_back": 5.0,
}
"""Maximum delay in seconds of a request whose sender has given up."""

REPORTS = ("report_result", "report_and_take")

IN_SERVER_SECONDS = 0.3
"""The same for reports and heartbeats, for which the server writes back the whole row: less than the shortest try. With
longer delays no worker can be right (the residual cases of the protocol's model)."""


@dataclass(frozen=True)
class Caller:
    """The sender of calls.

    Attributes:
        worker: its process, which dies in a crash.
        executor: the process of its attempt; None if the worker itself calls.
        execution: id of the execution that it calls for, or "".
        attempt: the attempt of that execution.
    """

    worker: Process
    executor: Process | None = None
    execution: str = ""
    attempt: Attempt | None = None

    @property
    def process(self) -> Process:
        return self.executor or self.worker


class Network:
    """The calls of one simulation.

    Args:
        incidents: the planned incidents.
        happen: triggers an event, or the death of a caller.
        look: called after everything that may have had an effect.
        is_current: returns whether an execution is the engine's current one.

    Attributes:
        fired: number of occurrences of each incident at each call.
        calls: calls of attempts, in the order of their effects.
        handed: executions that a worker received but has neither started nor returned, with its process.
        broken: broken promises about calls.
        late: number of requests under way whose senders have given up.
    """

    def __init__(
        self,
        baton: Baton,
        incidents: tuple[Incident, ...],
        happen: Callable[[Incident, Caller], None],
        look: Callable[[], None],
        is_current: Callable[[Attempt], bool],
    ) -> None:
        self.baton = baton
        self.fired: Counter[tuple[str, str]] = Counter()
        self.calls: list[Call] = []
        self.broken: list[str] = []
        self.late = 0
        self.handed: dict[AttemptIdentity, Process] = {}
        self.away: dict[str, float] = {"engine": 0.0, "store": 0.0}
        self._in_flight = Process("network")
        self._incidents: defaultdict[tuple[str, int], list[Incident]] = defaultdict(list)
        for incident in incidents:
            self._incidents[incident.point, incident.number].append(incident)
        self._counts: Counter[str] = Counter()
        self._beats: Counter[tuple[str, str]] = Counter()
        self._reports: dict[object, Attempt] = {}
        self._happen = happen
        self._look = look
        self._is_current = is_current
        self.is_calm = False

    def call(self, server: str, point: str, caller: Caller, request: Callable[[], T]) -> T:
        """Send a request to a server.

        Raises:
            InjectedError: it failed, or its answer was lost.
        """
        if point == "heartbeat":
            with self._beating(caller):
                return self._call(server, point, caller, request)
        if point not in REPORTS:
            return self._call(server, point, caller, request)
        if self._beats[_beat_of(caller)]:
            self.broken.append(f"{caller.execution} reports beside a heartbeat of its worker for that task")
        with self._reporting(caller) as arrived:
            return self._call(server, point, caller, lambda: arrived(request()))

    def reported(self, instances: Collection[str]) -> set[str]:
        """Ids of the tasks of these workflow instances for which a report has been sent, and has not arrived."""
        return {each.task_id for each in self._reports.values() if each.workflow_instance_id in instances}

    def _call(self, server: str, point: str, caller: Caller, request: Callable[[], T]) -> T:
        self._counts[point] += 1
        incidents = [] if self.is_calm else self._incidents.pop((point, self._counts[point]), [])
        self.baton.tell(f"-> {point}{_of(caller)}")
        if point != "load_current_attempt":
            self._note(point, caller)
        self._travel()
        self._set_off(incidents, "before", caller)
        if self.baton.now < self.away[server]:
            self.baton.tell(f"   {point}: the {server} is away")
            raise InjectedError(f"the {server} is away (simulated)")
        answer = self._request(incidents, point, caller, request)
        self._set_off(incidents, "after", caller)
        self._travel()
        return answer

    def body(self, caller: Caller, seconds: float, body: Callable[[], T]) -> T:
        """Run a body, which takes some seconds. It is not a call, but incidents can happen during it."""
        self._counts["body"] += 1
        incidents = [] if self.is_calm else self._incidents.pop(("body", self._counts["body"]), [])
        self.baton.tell(f"-> body{_of(caller)}")
        self.baton.pause(seconds)
        self._set_off(incidents, "before", caller)
        answer = body()
        self._set_off(incidents, "after", caller)
        return answer

    def hand_over(self, caller: Caller, attempt: Attempt) -> None:
        """Note that a worker received an execution."""
        self.handed[AttemptIdentity.of(attempt)] = caller.worker

    def note_begun(self, attempt: Attempt) -> None:
        """Note that the worker started the execution."""
        self.handed.pop(AttemptIdentity.of(attempt), None)

    # ---- internal

    @contextmanager
    def _reporting(self, caller: Caller) -> Iterator[Callable[[T], T]]:
        """Yield a callback for the answer, to call when the report has arrived."""
        key = object()
        if caller.attempt is not None:
            self._reports[key] = caller.attempt

        def arrived(answer: T) -> T:
            self._reports.pop(key, None)
            return answer

        try:
            yield arrived
        finally:
            self._reports.pop(key, None)

    @contextmanager
    def _beating(self, caller: Caller) -> Iterator[None]:
        self._beats[_beat_of(caller)] += 1
        try:
            yield
        finally:
            self._beats[_beat_of(caller)] -= 1

    def _request(self, incidents: list[Incident], point: str, caller: Caller, request: Callable[[], T]) -> T:
        for incident in self._still_due(incidents):
            if incident.kind not in FAULTS or incident.kind in ENDINGS:
                continue
            self._fire(incident, caller)
            match incident.kind:
                case "error":
                    raise InjectedError("the call failed, and nothing was done (simulated)")
                case "late":
                    self.baton.pause(LATE_SECONDS * incident.amount)
                case "gone":
                    raise SourceGoneError("what is to be copied is not there any more (simulated)")
                case "abandoned":
                    self._later(incident, point, caller, request)
                    raise InjectedError("no answer within the deadline (simulated)")
                case "lost":
                    self._try(point, caller, request)
                    raise InjectedError("the answer was lost (simulated)")
                case "twice":
                    self._try(point, caller, request)
        return self._effect(point, caller, request)

    def _note(self, point: str, caller: Caller) -> None:
        """Record a call: a fence when it reads, all others when they start, because they may arrive much later."""
        if caller.attempt is not None:
            self.calls.append(Call(caller.execution, point, self._is_current(caller.attempt)))

    def _effect(self, point: str, caller: Caller, request: Callable[[], T]) -> T:
        if point == "load_current_attempt":
            self._note(point, caller)
        try:
            answer = request()
        except Exception as exc:
            self.baton.tell(f"   {point}: {type(exc).__name__}: {str(exc)[:160]}")
            raise
        finally:
            self._look()
        self.baton.tell(f"   {point}: {_shown(answer)}")
        return answer

    def _try(self, point: str, caller: Caller, request: Callable[[], T]) -> None:
        try:
            self._effect(point, caller, request)
        except Exception:  # noqa: BLE001 - nobody receives it
            return

    def _later(self, incident: Incident, point: str, caller: Caller, request: Callable[[], T]) -> None:
        seconds = ABANDONED_SECONDS.get(point, IN_SERVER_SECONDS) * incident.amount

        def arrive() -> None:
            self.baton.pause(seconds)
            self._try(point, caller, request)
            self.late -= 1

        self.late += 1
        self.baton.spawn(f"late {point}", self._in_flight, arrive)

    def _set_off(self, incidents: list[Incident], when: str, caller: Caller) -> None:
        for incident in self._still_due(incidents):
            is_fault = incident.kind in FAULTS and incident.kind not in ENDINGS
            if incident.when == when and not is_fault:
                self._fire(incident, caller)
                self._happen(incident, caller)

    def _still_due(self, incidents: list[Incident]) -> Iterator[Incident]:
        """Those of a call that happen before the faults stop: an earlier one may pause the caller until then."""
        for incident in incidents:
            if self.is_calm:
                return
            yield incident

    def _fire(self, incident: Incident, caller: Caller) -> None:
        self.fired[incident.kind, incident.point] += 1
        self.baton.tell(f"** {incident}, of {caller.process.name}")

    def _travel(self) -> None:
        """Let a message travel: mostly for no time, sometimes for long."""
        chance = self.baton.random.random()
        if chance < 0.4:
            return
        if chance < 0.7:
            self.baton.pause()
        elif chance < 0.97 or self.is_calm:
            self.baton.pause(0.1 * self.baton.random.random())
        else:
            self.baton.pause(2.0 * self.baton.random.random())


def _of(caller: Caller) -> str:
    return "" if caller.attempt is None else f" for {caller.attempt.task_id} ({caller.execution})"


def _beat_of(caller: Caller) -> tuple[str, str]:
    """Worker and task of a heartbeat."""
    return (caller.worker.name, "" if caller.attempt is None else caller.attempt.task_id)


def _shown(answer: object) -> str:
    if answer is None:
        return "done"
    status = getattr(answer, "status", None)
    if isinstance(status, str):
        return status
    head = getattr(answer, "head", None) or getattr(answer, "commit", None)
    return str(head)[:12] if isinstance(head, str) else str(answer)[:60]
