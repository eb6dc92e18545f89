"""The Conductor server as an engine: what an attempt asks of it, and what a worker does."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from perago.engines.conductor.attempt import ConductorAttempt
from perago.engines.conductor.client import ConductorClient
from perago.engines.conductor.lease import CALL_SECONDS as HEARTBEAT_SECONDS
from perago.engines.conductor.lease import Heartbeat, heartbeat_interval
from perago.engines.conductor.poll import Turns
from perago.engines.conductor.report import fitting
from perago.engines.limits import MAX_OUTPUT_BYTES
from perago.errors import EngineError, TaskNotFoundError
from perago.http.direct import run_now
from perago.http.loop import LoopThread
from perago.http.proxies import proxy_for
from perago.ports import HandedOut
from perago.values.models import Attempt, RuntimeTaskResult
from perago.values.record import InstanceRecord, TryStatus

T = TypeVar("T")

_BEGIN_SECONDS = 5.0
"""For a heartbeat to be begun, which takes no time on a loop that runs."""

GIVES_NEXT_AGAIN_SECONDS = 600.0
"""After which a server that did not know the call for the next task is asked again: a proxy may have said so."""

_STOP_SECONDS = 2.0 + HEARTBEAT_SECONDS
"""For a lease to be stopped: the deadline of the heartbeat in flight, and a little."""


class ConductorEngine:
    """A Conductor server, for any number of threads. Nothing is sent before the first call.

    Calls are made in their caller's thread, over a pool of kept connections. Heartbeats, and reads that go side by
    side, have a thread of their own with an event loop, and a pool there; it begins with the first of them. Where a
    proxy leads to the server, all calls go that way. `close` ends it all, and so does the end of the process.

    Args:
        server_url: of its API, as in `http://localhost:8080/api`.
        auth_key, auth_secret: an access key, for a server that asks for one; both or none.
        ca_file: certificates that the server's may be signed with. Default: the system's.
        connections: at most at once, of each of the two pools.
        max_output_bytes: of a result's output as JSON; a larger one becomes a terminal failure that says so.

    Raises:
        RuntimeConfigError: the URL is none of a server, half a key was given, or the CA file cannot be used.
    """

    def __init__(
        self,
        server_url: str,
        *,
        auth_key: str | None = None,
        auth_secret: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> None:
        connect = functools.partial(
            ConductorClient.connect, server_url, auth_key, auth_secret, ca_file=ca_file, connections=connections
        )
        self._on_loop = connect()
        self._loop = LoopThread("perago-conductor", self._on_loop.close)
        self._direct = connect(direct=True) if _is_reached_directly(self._on_loop.root) else None
        self._turns = Turns()
        self._unknown_at: float | None = None  # when the server did not know the call for the next task
        self._max_output_bytes = max_output_bytes

    @property
    def api_url(self) -> str:
        """Of the server's API."""
        return self._on_loop.root

    @property
    def max_output_bytes(self) -> int:
        """The largest output that is reported."""
        return self._max_output_bytes

    def close(self) -> None:
        """End all heartbeats and connections, and calls under way. Twice is fine."""
        self._loop.close()
        if self._direct is not None:
            run_now(self._direct.close())

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
        return self._run(self._calls.get_task(task_id))

    def load_record(self, attempt: Attempt) -> InstanceRecord:
        """Every try of the attempt's workflow instance; raises as `load_current_attempt`."""
        return self._run(self._calls.get_record(attempt.workflow_instance_id))

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Send a result, once; the server drops one for a task that has ended, and says nothing: read back.

        The attempt's lease is to be stopped before. A result that is too large becomes a failure that says so.

        Raises:
            TaskNotFoundError: a restart or a rerun removed the task.
            EngineError: the server refused or gave no answer; it may have taken the result.
        """
        self._run(self._calls.post_result(attempt, fitting(result, max_bytes=self._max_output_bytes)))

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> ConductorAttempt | None:
        """Report as `report_result` does, and take the next task that waits in the same queue, all in one call.

        Where none waits, the server looks for one for 0.1 s. One comes along with a report that it drops, too.
        """
        fit = fitting(result, max_bytes=self._max_output_bytes)
        if self._unknown_at is not None and time.monotonic() - self._unknown_at < GIVES_NEXT_AGAIN_SECONDS:
            self._run(self._calls.post_result(attempt, fit))
            return None
        try:
            return self._run(self._calls.post_result_and_take(attempt, fit))
        except TaskNotFoundError:
            self._run(self._calls.post_result(attempt, fit))  # raises again where it is the task that is not found
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
        return self._run(self._poll(self._turns.order(task_types), count, worker_id, domain))

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> ConductorLease:
        """Keep an execution's lease with heartbeats until `stop`, which comes before the report.

        Args:
            at_once: begin with a heartbeat. Default: the first one is due after a third of the response timeout.
        """
        interval = heartbeat_interval(attempt.response_timeout_seconds)
        heartbeat = Heartbeat(
            lambda seconds, flight: self._on_loop.extend_lease(attempt, timeout=seconds, flight=flight),
            interval,
            at_once=at_once,
        )
        try:
            self._loop.run(heartbeat.start(), timeout=_BEGIN_SECONDS)
        except TimeoutError:
            self._loop.call_soon(heartbeat.let_go)  # it may have begun all the same
            raise EngineError(
                f"task {attempt.task_id}: no heartbeats can be begun, as the thread that sends them stands still"
            ) from None
        return ConductorLease(self._loop, heartbeat)

    def extend_lease(self, attempt: Attempt) -> None:
        """One heartbeat. The server takes it for a task that was cancelled or given to another just the same."""
        self._run(self._calls.extend_lease(attempt))

    def give_back(self, attempt: Attempt) -> bool:
        """Put a task back into its queue at once, spending no retry; says whether it was still this execution's.

        Its lease is to be stopped before.
        """
        return self._run(self._give_back(attempt))

    def current_of(self, attempts: Iterable[Attempt]) -> dict[str, ConductorAttempt | None]:
        """What the server has now of many tasks, by task id, read side by side; None: it is not there any more.

        One that cannot be read is left out.

        Raises:
            EngineError: none of them can be read.
        """
        return self._loop.run(self._on_loop.get_tasks([attempt.task_id for attempt in attempts]))

    def log(self, attempt: Attempt, text: str) -> None:
        """Add an entry to the task's log, which the server's UI shows."""
        self._run(self._calls.log(attempt.task_id, text))

    # ---- definitions

    def get_taskdef(self, name: str) -> dict[str, Any] | None:
        """A registered TaskDef; None: there is none of that name."""
        return self._run(self._calls.get_taskdef(name))

    def put_taskdef(self, taskdef: Mapping[str, Any]) -> None:
        """Register a TaskDef, in the place of the one of its name if there is one."""
        self._run(self._calls.put_taskdef(taskdef))

    # ---- within

    async def _poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None
    ) -> list[ConductorAttempt]:
        taken: list[ConductorAttempt] = []
        for task_type in task_types:
            if len(taken) >= count:
                break
            try:
                taken += await self._calls.poll_type(task_type, count - len(taken), worker_id, domain)
            except EngineError:
                if not taken:
                    raise
                break  # those that were taken must not be lost over it
        return taken

    async def _give_back(self, attempt: Attempt) -> bool:
        try:
            now = await self._calls.get_task(attempt.task_id)
        except TaskNotFoundError:
            return False
        if now.status != TryStatus.IN_PROGRESS or _execution(now) != _execution(attempt):
            return False  # another worker has it by now, and would get it a second time
        await self._calls.give_back(attempt)
        return True

    @property
    def _calls(self) -> ConductorClient:
        return self._direct or self._on_loop

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call) if self._direct is None else run_now(call)


class ConductorLease:
    """The lease of one execution, kept by a heartbeat. Its properties may be read from any thread."""

    def __init__(self, loop: LoopThread, heartbeat: Heartbeat) -> None:
        self._loop = loop
        self._heartbeat = heartbeat

    @property
    def is_late(self) -> bool:
        """Whether heartbeats are missing, so that the lease is soon lost; or it was let go."""
        return self._heartbeat.is_late

    @property
    def is_retrying(self) -> bool:
        """Whether the last heartbeat failed, and is sent again soon."""
        return self._heartbeat.is_retrying

    @property
    def is_gone(self) -> bool:
        """Whether the server does not know the task any more."""
        return self._heartbeat.is_gone

    @property
    def silent_seconds(self) -> float:
        """Since the last heartbeat that the server answered."""
        return self._heartbeat.silent_seconds

    @property
    def is_stopped(self) -> bool:
        """Whether there are no more heartbeats, and none is in flight."""
        return self._heartbeat.is_stopped

    def let_go(self) -> None:
        """No more heartbeats; returns at once, while one may still be in flight."""
        self._loop.call_soon(self._heartbeat.let_go)

    def stop(self) -> None:
        """No more heartbeats; returns when the one in flight has its answer. Twice is fine.

        One that still waits for its turn, or for a token, is given up. Where even the deadline of one that was sent
        brings no answer, the thread stands still; once it goes on, it sends no more.
        """
        self.let_go()  # which no timeout takes back
        with suppress(TimeoutError):
            self._loop.run(self._heartbeat.stop(), timeout=_STOP_SECONDS)


def _is_reached_directly(url: str) -> bool:
    try:
        return proxy_for(url) is None
    except ValueError:  # each call on the loop says what is wrong with the proxy's name
        return False


def _execution(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.task_id,
        attempt.retry_count,
        getattr(attempt, "scheduled_time", None),
        getattr(attempt, "poll_count", None),
    )
