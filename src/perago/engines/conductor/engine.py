"""The Conductor server as an engine: what an attempt asks of it, and what a worker does."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from perago.engines.conductor.attempt import ConductorAttempt
from perago.engines.conductor.client import ConductorClient
from perago.engines.conductor.lease import ConductorLease, FirstHeartbeats, heartbeat_interval
from perago.engines.conductor.poll import Turns
from perago.engines.conductor.report import fitting
from perago.errors import EngineError, TaskNotFoundError
from perago.ports import HandedOut
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus

GIVES_NEXT_AGAIN_SECONDS = 600.0
"""After which a server that did not know the call for the next task is asked again: a proxy may have said so."""


class ConductorEngine:
    """A Conductor server, for any number of threads. Nothing is sent before the first call.

    Calls are made in their caller's thread, over one pool of kept connections. A lease whose first heartbeat is
    due gets a thread of its own. `close` ends it all, and so does the end of the process.

    Args:
        server_url: of its API, as in `http://localhost:8080/api`.
        auth_key, auth_secret: an access key, for a server that asks for one; both or none.
        ca_file: certificates that the server's may be signed with. Default: the system's.
        connections: at most at once.

    Raises:
        RuntimeConfigError: the URL is none of a server, half a key was given, the CA file cannot be used, or the
            environment's proxy is none.
    """

    def __init__(
        self,
        server_url: str,
        *,
        auth_key: str | None = None,
        auth_secret: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
    ) -> None:
        self._client = ConductorClient.connect(
            server_url, auth_key, auth_secret, ca_file=ca_file, connections=connections
        )
        self._lock = threading.Lock()
        self._first_heartbeats = FirstHeartbeats()
        self._leases: weakref.WeakSet[ConductorLease] = weakref.WeakSet()
        self._turns = Turns()
        self._unknown_at: float | None = None  # when the server did not know the call for the next task

    @property
    def api_url(self) -> str:
        """Of the server's API."""
        return self._client.root

    def close(self) -> None:
        """End all heartbeats and connections, and calls under way. Twice is fine."""
        with self._lock:
            leases = list(self._leases)
        for lease in leases:
            lease.let_go()
        self._client.close()
        self._first_heartbeats.close()
        for lease in leases:
            lease.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # ---- what an attempt asks

    def load_current_attempt(self, attempt: Attempt) -> ConductorAttempt:
        """The attempt's task as it is now.

        Raises:
            TaskNotFoundError: a restart or a rerun removed it.
            EngineError: the server refused, or gave no answer.
        """
        return self.load_task(attempt.task_id)

    def load_task(self, task_id: str) -> ConductorAttempt:
        """A task as it is now; raises as `load_current_attempt`."""
        return self._client.get_task(task_id)

    def load_record(self, attempt: Attempt) -> InstanceRecord:
        """Every try of the attempt's workflow instance; raises as `load_current_attempt`."""
        return self._client.get_record(attempt.workflow_instance_id)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Send a result, once; the server drops one for a task that has ended, and says nothing: read back.

        The attempt's lease is to be stopped before. A result that is too large becomes a failure that says so.

        Raises:
            TaskNotFoundError: a restart or a rerun removed the task.
            EngineError: the server refused or gave no answer; it may have taken the result.
        """
        self._client.post_result(attempt, fitting(result))

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> ConductorAttempt | None:
        """Report as `report_result` does, and take the next task that waits in the same queue, all in one call.

        Where none waits, the server looks for one for 0.1 s. One comes along with a report that it drops, too.
        """
        fit = fitting(result)
        if self._unknown_at is not None and time.monotonic() - self._unknown_at < GIVES_NEXT_AGAIN_SECONDS:
            self._client.post_result(attempt, fit)
            return None
        try:
            return self._client.post_result_and_take(attempt, fit)
        except TaskNotFoundError:
            self._client.post_result(attempt, fit)  # raises again where it is the task that is not found
            self._unknown_at = time.monotonic()
            return None

    # ---- what a worker does

    def poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None = None
    ) -> list[ConductorAttempt]:
        """Take up to `count` waiting tasks of these types; at once, also where there are fewer.

        A busy type starves none of the others. The lease of each begins now: hold it, or give it back.

        Raises:
            EngineError: the server refused or gave no answer, and nothing was taken before.
        """
        return self._poll(self._turns.order(task_types), count, worker_id, domain)

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> ConductorLease:
        """Keep an execution's lease with heartbeats until `stop`, which comes before the report.

        Args:
            at_once: begin with a heartbeat. Default: the first one is due after a third of the response timeout.

        Raises:
            EngineError: there is no room for a thread.
        """
        lease = ConductorLease(
            lambda seconds, flight: self._client.extend_lease(attempt, timeout=seconds, flight=flight),
            heartbeat_interval(attempt.response_timeout_seconds),
            self._first_heartbeats,
            at_once=at_once,
        )
        lease.start()
        with self._lock:
            self._leases.add(lease)
        return lease

    def give_back(self, attempt: Attempt) -> bool:
        """Put a task back into its queue at once, spending no retry; says whether it was still this execution's.

        Its lease is to be stopped before.
        """
        return self._give_back(attempt)

    def current_of(self, attempts: Iterable[Attempt]) -> dict[str, ConductorAttempt | None]:
        """What the server has now of many tasks, by task id, read side by side; None: it is not there any more.

        One that cannot be read is left out.

        Raises:
            EngineError: none of them can be read.
        """
        return self._client.get_tasks(attempt.task_id for attempt in attempts)

    def log(self, attempt: Attempt, text: str) -> None:
        """Add an entry to the task's log, which the server's UI shows."""
        self._client.log(attempt.task_id, text)

    # ---- definitions

    def get_taskdef(self, name: str) -> dict[str, Any] | None:
        """A registered TaskDef; None: there is none of that name."""
        return self._client.get_taskdef(name)

    def put_taskdef(self, taskdef: Mapping[str, Any]) -> None:
        """Register a TaskDef, in the place of the one of its name if there is one."""
        self._client.put_taskdef(taskdef)

    # ---- within

    def _poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None
    ) -> list[ConductorAttempt]:
        taken: list[ConductorAttempt] = []
        for task_type in task_types:
            if len(taken) >= count:
                break
            try:
                taken += self._client.poll_type(task_type, count - len(taken), worker_id, domain)
            except EngineError:
                if not taken:
                    raise
                break  # those that were taken must not be lost over it
        return taken

    def _give_back(self, attempt: Attempt) -> bool:
        try:
            now = self._client.get_task(attempt.task_id)
        except TaskNotFoundError:
            return False
        if now.status != TryStatus.IN_PROGRESS or _execution(now) != _execution(attempt):
            return False  # another worker has it by now, and would get it a second time
        self._client.give_back(attempt)
        return True


def _execution(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.task_id,
        attempt.retry_count,
        getattr(attempt, "scheduled_time", None),
        getattr(attempt, "poll_count", None),
    )
