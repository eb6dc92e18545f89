"""The Conductor server as an engine, for attempts and for workers."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Any, Self

from perago.engines.conductor import again
from perago.engines.conductor.api import CALL_SECONDS
from perago.engines.conductor.client import ConductorClient
from perago.engines.conductor.fit import fitting
from perago.engines.conductor.lease import ConductorLease, FirstHeartbeats, heartbeat_interval
from perago.engines.conductor.poll import Turns
from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow, InstanceHead
from perago.errors import EngineError, TaskNotFoundError
from perago.files.credentials import Credentials
from perago.ports import HandedOut
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult
from perago.values.record import WITHIN, InstanceRecord, TryStatus
from perago.values.tree import read_tree

GIVES_NEXT_AGAIN_SECONDS = 600.0
"""After this time, a server that did not know the call for the next task is asked again: the answer may have come from
a proxy."""

SEARCH_SIZE = 100
"""Instances that one call of a search gives."""

MAX_SEARCHED = 1000
"""Newest instances, sub-workflows included, among which a list looks for workflows."""

READS_AT_ONCE = 8

SETTLE_SECONDS = 3.0
"""Minimum time from the end of a workflow to a retry or rerun. A server that is still evaluating a JOIN writes back
what it has read, and undoes what a retry or rerun has changed. Then the workflow is TERMINATED again, or never ends."""


class ConductorEngine:
    """A Conductor server, for any number of threads. Nothing is sent before the first call.

    Calls are made in their caller's thread, over one connection pool. A lease whose first heartbeat is due
    gets its own thread. `close` ends everything, and so does the end of the process.

    Args:
        server_url: of its API, such as `http://localhost:8080/api`.
        auth_key, auth_secret: an access key, if the server requires one; both or neither.
        credentials: instead, an access key that is read again when its files change; see `perago.files.credentials`.
        ca_file: certificates to trust. Default: the system's.
        connections: maximum at the same time.

    Raises:
        RuntimeConfigError: the URL is not a server's, the key is incomplete, the CA file cannot be used, or the
            environment's proxy is invalid.
    """

    def __init__(
        self,
        server_url: str,
        *,
        auth_key: str | None = None,
        auth_secret: str | None = None,
        credentials: Credentials | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
    ) -> None:
        self._client = ConductorClient.connect(
            server_url, auth_key, auth_secret, credentials=credentials, ca_file=ca_file, connections=connections
        )
        self._lock = threading.Lock()
        self._first_heartbeats = FirstHeartbeats()
        self._leases: weakref.WeakSet[ConductorLease] = weakref.WeakSet()
        self._turns = Turns()
        self._unknown_at: float | None = None  # time at which the server did not know the call for the next task

    @property
    def api_url(self) -> str:
        """URL of the server's API."""
        return self._client.root

    def close(self) -> None:
        """End all heartbeats, connections and calls in progress. May be called twice."""
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

    # ---- for attempts

    def load_current_attempt(self, attempt: Attempt) -> EngineTask:
        """The current state of the attempt's task.

        Raises:
            TaskNotFoundError: a restart or a rerun removed it.
            EngineError: the server refused, or did not answer.
        """
        return self.load_task(attempt.task_id)

    def load_task(self, task_id: str) -> EngineTask:
        """The current state of a task. Raises as `load_current_attempt`."""
        return self._client.get_task(task_id)

    def load_record(self, attempt: Attempt, paths: Collection[str] = ()) -> InstanceRecord:
        """All tries of the attempt's workflow, from the outermost one on. Raises as `load_current_attempt`.

        A workflow without sub-workflows takes one call. Another call is made for each workflow around the attempt's,
        and for each sub-workflow that one of the tasks with these paths is in.
        """
        return read_tree(self._client.get_instance, attempt.workflow_instance_id, paths)

    def report_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Send a result, once. The server silently drops one for a task that has ended: read it back.

        Stop the attempt's lease first. A result that is too large becomes a failure.

        Raises:
            TaskNotFoundError: a restart or a rerun removed the task.
            EngineError: the server refused or did not answer; it may have accepted the result.
        """
        self._client.post_result(attempt, fitting(result))

    def report_and_take(self, attempt: HandedOut, result: RuntimeTaskResult) -> EngineTask | None:
        """Report as `report_result` does, and take the next waiting task of the same queue, in one call.

        If none waits, the server looks for one for 0.1 s. It can return one even if it drops the report.
        """
        fit = fitting(result)
        if self._unknown_at is not None and time.monotonic() - self._unknown_at < GIVES_NEXT_AGAIN_SECONDS:
            self._client.post_result(attempt, fit)
            return None
        try:
            return self._client.post_result_and_take(attempt, fit)
        except TaskNotFoundError:
            self._client.post_result(attempt, fit)  # raises again if the task is missing
            self._unknown_at = time.monotonic()
            return None

    # ---- for workers

    def poll(
        self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None = None
    ) -> list[EngineTask]:
        """Take up to `count` waiting tasks of these types, without waiting for more.

        A busy type does not starve the others. The lease of each task starts now: hold it, or give it back.

        Raises:
            EngineError: the server refused or did not answer, and no task was taken before.
        """
        return self._poll(self._turns.order(task_types), count, worker_id, domain)

    def hold(self, attempt: HandedOut, *, at_once: bool = False) -> ConductorLease:
        """Keep an execution's lease with heartbeats until `stop`, which must come before the report.

        Args:
            at_once: start with a heartbeat. Default: the first one is due after a third of the response timeout.

        Raises:
            EngineError: no thread can be started.
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
        """Return a task to its queue at once without using up a retry. Returns whether it still was this execution's.

        Stop its lease first.
        """
        return self._give_back(attempt)

    def current_of(self, attempts: Iterable[Attempt]) -> dict[str, EngineTask | None]:
        """The server's current state of many tasks, by task id, read in parallel; None if a task no longer exists.

        Tasks that cannot be read are left out.

        Raises:
            EngineError: none of them can be read.
        """
        return self._client.get_tasks(attempt.task_id for attempt in attempts)

    def log(self, attempt: Attempt, text: str) -> None:
        """Add an entry to the task's log, which the server's UI shows."""
        self._client.log(attempt.task_id, text)

    def log_of(self, task_id: str, *, timeout: float = CALL_SECONDS) -> list[str]:
        """The entries of a task's log that the server's index has, the oldest first.

        Raises:
            EngineError: the server refused, or did not answer.
        """
        return self._client.get_log(task_id, timeout=timeout)

    # ---- definitions

    def get_taskdef(self, name: str) -> dict[str, Any] | None:
        """A registered TaskDef; None if there is none of that name."""
        return self._client.get_taskdef(name)

    def put_taskdef(self, taskdef: Mapping[str, Any]) -> None:
        """Register a TaskDef, replacing one of the same name."""
        self._client.put_taskdef(taskdef)

    def last_poll(self, queue: tuple[str, str | None]) -> int | None:
        """When a worker last asked for tasks of a name and a domain, by the server's clock; None for never."""
        return self._client.last_poll(*queue)

    def get_workflow_definition(
        self, name: str, version: int | None = None, *, timeout: float = CALL_SECONDS
    ) -> dict[str, Any] | None:
        """A registered workflow definition; None if there is none. Default: the latest version."""
        return self._client.get_workflow_definition(name, version, timeout=timeout)

    def put_workflow_definition(self, definition: Mapping[str, Any]) -> None:
        """Register a workflow definition, replacing the same version of it."""
        self._client.put_workflow_definition(definition)

    # ---- workflows

    def start_workflow(self, name: str, version: int, input_data: Mapping[str, Any]) -> str:
        """Start a workflow. Returns its id.

        Raises:
            EngineError: the server refused or did not answer; it may have started it.
        """
        return self._client.start_workflow(name, version, input_data)

    def get_workflow(self, workflow_id: str, *, timeout: float = CALL_SECONDS) -> ConductorWorkflow:
        """A workflow instance with its tasks, those of each sub-workflow right after it, as `features/clean`.

        Args:
            timeout: seconds for each call. There is one for the instance, and one for each sub-workflow.

        Raises:
            TaskNotFoundError: there is no such workflow.
            EngineError: the server refused, or did not answer.
        """
        workflow = self.get_instance(workflow_id, timeout=timeout)
        tasks: list[ConductorTask] = []
        taken = dict(workflow.taken_cases)
        for task in workflow.tasks:
            tasks.append(task)
            if task.sub_workflow_id is not None:
                with suppress(TaskNotFoundError):  # its id is known before it is there
                    within = task.reference_task_name + WITHIN
                    found = self.get_workflow(task.sub_workflow_id, timeout=timeout)
                    tasks += [
                        replace(inner, reference_task_name=within + inner.reference_task_name) for inner in found.tasks
                    ]
                    taken |= {within + switch: case for switch, case in found.taken_cases.items()}
        return replace(workflow, tasks=tuple(tasks), taken_cases=taken)

    def newest_workflows(self, count: int) -> list[ConductorWorkflow]:
        """The workflow instances that were started last, newest first, without those that are sub-workflows.

        Looks among the newest `MAX_SEARCHED` instances, with at most `READS_AT_ONCE` calls at a time.

        Raises:
            EngineError: the server refused, or did not answer.
        """
        ids = [head.workflow_id for head in self.newest_heads(count)]
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="perago-reads") as threads:
            return [workflow for workflow in threads.map(self._found_workflow, ids) if workflow is not None]

    def newest_heads(self, count: int, *, timeout: float = CALL_SECONDS) -> list[InstanceHead]:
        """What the server's index has of the instances that `newest_workflows` lists, with a call for each 100.

        Raises:
            EngineError: the server refused, or did not answer.
        """
        return list(islice(self._newest_roots(timeout), count))

    def has_ended(self, workflow_id: str) -> bool:
        """Whether a workflow instance has ended; a person may still retry or rerun it.

        Raises:
            TaskNotFoundError: there is no such workflow.
            EngineError: the server refused, or did not answer.
        """
        return ConductorWorkflow.of(self._client.get_workflow(workflow_id)).has_ended

    def get_instance(self, workflow_id: str, *, timeout: float = CALL_SECONDS) -> ConductorWorkflow:
        """A workflow instance without the tasks of its sub-workflows. Raises as `get_workflow`."""
        return ConductorWorkflow.of(self._client.get_workflow(workflow_id, timeout=timeout))

    def terminate_workflow(self, workflow_id: str, reason: str) -> None:
        """End a running workflow; its live tasks are CANCELED.

        Raises:
            WorkflowStateError: it has ended, or is a sub-workflow.
        """
        again.expect_running(self.get_workflow(workflow_id), self.get_instance)
        self._client.terminate_workflow(workflow_id, reason)

    def retry_workflow(self, workflow_id: str) -> None:
        """Retry the last failed tasks of a workflow that has failed or was terminated.

        The server resumes a failed sub-workflow where it failed, and begins a cancelled one anew.

        Raises:
            WorkflowStateError: it has not failed, or the server cannot retry it.
        """
        workflow = self.get_workflow(workflow_id)
        again.expect_retry(workflow, self.get_instance)
        _let_settle(workflow)
        self._client.retry_workflow(workflow_id, resume_sub_workflows=again.resumes_sub_workflow(workflow))

    def plan_rerun(self, workflow_id: str, reference_task_name: str | None = None) -> again.Rerun:
        """What a rerun does from a task, or from the beginning.

        Raises:
            WorkflowStateError: it runs, it has no such task, or the server would lose what runs beside that task.
        """
        return again.plan_rerun(self.get_workflow(workflow_id), reference_task_name, self.get_instance)

    def rerun_workflow(self, plan: again.Rerun) -> None:
        """Run a workflow that has ended again."""
        _let_settle(self.get_instance(plan.workflow_id))
        self._client.rerun_workflow(plan.workflow_id, plan.task_id)

    def next_command(self, workflow: ConductorWorkflow) -> str:
        """What can be done with a workflow that has ended."""
        return again.advice(workflow, self.get_instance)

    # ---- internals

    def _newest_roots(self, timeout: float) -> Iterator[InstanceHead]:
        for start in range(0, MAX_SEARCHED, SEARCH_SIZE):
            page = self._client.search_workflows(start, SEARCH_SIZE, timeout=timeout)
            yield from (InstanceHead.of(one) for one in page if not one.get("parentWorkflowId"))
            if len(page) < SEARCH_SIZE:
                return

    def _found_workflow(self, workflow_id: str) -> ConductorWorkflow | None:
        try:
            return self.get_workflow(workflow_id)
        except TaskNotFoundError:
            return None  # it has been removed since

    def _poll(self, task_types: Sequence[str], count: int, worker_id: str, domain: str | None) -> list[EngineTask]:
        taken: list[EngineTask] = []
        for task_type in task_types:
            if len(taken) >= count:
                break
            try:
                taken += self._client.poll_type(task_type, count - len(taken), worker_id, domain)
            except EngineError:
                if not taken:
                    raise
                break  # the tasks already taken must not be lost
        return taken

    def _give_back(self, attempt: Attempt) -> bool:
        try:
            now = self._client.get_task(attempt.task_id)
        except TaskNotFoundError:
            return False
        if now.status != TryStatus.IN_PROGRESS or _execution(now) != _execution(attempt):
            return False  # another worker already has it, and would get it a second time
        self._client.give_back(attempt)
        return True


def _let_settle(workflow: ConductorWorkflow) -> None:
    """Wait until the server has let go of a workflow that has just ended; see `SETTLE_SECONDS`."""
    ended_seconds_ago = time.time() - workflow.ended_time / 1000
    if 0 <= ended_seconds_ago < SETTLE_SECONDS:
        time.sleep(SETTLE_SECONDS - ended_seconds_ago)


def _execution(attempt: Attempt) -> tuple[object, ...]:
    return (
        attempt.task_id,
        attempt.retry_count,
        getattr(attempt, "scheduled_time", None),
        getattr(attempt, "poll_count", None),
    )
