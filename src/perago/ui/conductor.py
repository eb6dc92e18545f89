"""A Conductor server for the pages: its newest workflow runs on one repository, and one run as it is now.

The list is looked for in a thread of its own, so that no page waits for a server that is slow or away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from perago.engines.conductor.workflow import ConductorTask, ConductorWorkflow, InstanceHead
from perago.engines.local import RunSummary
from perago.errors import EngineError, RunNotFoundError, TaskNotFoundError
from perago.running.conductor import graph_of, repository_of, summary_of
from perago.values.redaction import learn_of, mask_bounded, text_of, traceback_of
from perago.values.timing import Timing, timing_in
from perago.values.workflow_params import possible_secrets
from perago.workflows.graph import SubWorkflowNode, WorkflowGraph

MAX_INSTANCES = 200
"""Newest workflow runs of the server, of all repositories, among which the list looks for those of one."""

READS_AT_ONCE = 8

LOOK_SECONDS = 3.0
"""A list that is older is looked for anew when a page asks for it."""

FIRST_SECONDS = 0.4
"""A page waits so long for the first list, and for no later one."""

CALL_SECONDS = 5.0
"""Deadline of each call."""

MAX_LOGS = READS_AT_ONCE
"""Tries whose log is shown."""

MAX_TIMINGS = 64
READ_SECONDS = 0.5
"""Tries whose timing a page reads, and for how long it begins to read one; the next page goes on with others."""

MAX_KNOWN = 4096
"""Timings that are kept as read."""

LATE_SECONDS = 30.0
"""A log without a timing is read again until its try has ended for so long: a server may list lines late."""

MAX_LINES = 10
MAX_LINE = 200
"""Lines of a log that are shown, and characters of each."""

MAX_ENTRY = MAX_LINES * MAX_LINE
"""Characters of an entry that are looked at, from its end: it may be a traceback."""

MAX_GRAPHS = 16
"""Runs whose workflow is kept as read, those that were asked for last."""


_LOGGER = logging.getLogger("perago.ui")


class Server(Protocol):
    """What this asks of `ConductorEngine`."""

    @property
    def api_url(self) -> str: ...
    def newest_heads(self, count: int, *, timeout: float) -> list[InstanceHead]: ...
    def get_instance(self, workflow_id: str, *, timeout: float) -> ConductorWorkflow: ...
    def get_workflow(self, workflow_id: str, *, timeout: float) -> ConductorWorkflow: ...
    def log_of(self, task_id: str, *, timeout: float) -> list[str]: ...
    def get_workflow_definition(self, name: str, version: int | None, *, timeout: float) -> dict[str, Any] | None: ...


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """When and how the list of a server was read.

    Attributes:
        url: of its API.
        as_of: when it was read; None if it was not read yet.
        fault: why it could not be read again; None if it could.
        looked_at: runs, of all repositories, that were looked at.
    """

    url: str
    as_of: datetime | None = None
    fault: str | None = None
    looked_at: int = 0


@dataclass(frozen=True, kw_only=True)
class TryLog:
    """What the log of a try says.

    Attributes:
        lines: the last ones, masked, if they are shown.
        timing: as its worker has written it at its end, or None.
    """

    lines: Sequence[str] = ()
    timing: Timing | None = None


NO_LOG = TryLog()


@dataclass(frozen=True)
class ServerRuns:
    """The runs of a server on one repository, newest first."""

    state: ServerState
    runs: Sequence[RunSummary] = ()


@dataclass(frozen=True)
class _Read:
    """An instance as it was read. Without a summary it is of another repository, which never changes."""

    head: InstanceHead
    is_final: bool
    summary: RunSummary | None


class ConductorRuns:
    """The runs of a server on one repository. For any thread.

    Args:
        repository: its name, as inputs have it; None for runs without one.
    """

    def __init__(self, server: Server, repository: str | None) -> None:
        self._server = server
        self._repository = repository
        self._lock = threading.Lock()
        self._has_looked = threading.Event()
        self._is_looking = False
        self._looked_at: float | None = None
        self._read: dict[str, _Read] = {}
        self._listed = ServerRuns(ServerState(url=server.api_url))
        self._graphs: dict[str, WorkflowGraph] = {}
        self._timings: dict[tuple[str, int], Timing | None] = {}

    @property
    def url(self) -> str:
        """URL of the server's API."""
        return self._server.api_url

    def listed(self) -> ServerRuns:
        """The list as it was read last. If that is old, a thread reads it anew for the next page."""
        with self._lock:
            is_old = self._looked_at is None or time.monotonic() - self._looked_at > LOOK_SECONDS
            if is_old and not self._is_looking:
                self._is_looking = True
                threading.Thread(target=self._look, name="perago-conductor", daemon=True).start()
        self._has_looked.wait(FIRST_SECONDS)
        with self._lock:
            return self._listed

    def run(self, run_id: str) -> ConductorWorkflow:
        """A run as it is now. From now on, what may be a secret in its params is masked in every text.

        Raises:
            RunNotFoundError: the server has no such run.
            EngineError: it refused, or did not answer.
        """
        try:
            return _learned(self._server.get_workflow(run_id, timeout=CALL_SECONDS))
        except TaskNotFoundError:
            raise RunNotFoundError(
                f"neither this machine nor {self._server.api_url} has a run {run_id!a}; `perago runs` and `perago "
                f"runs --conductor` list those that there are"
            ) from None

    def logs(self, run: ConductorWorkflow) -> Mapping[str, TryLog]:
        """What the logs of tries say, by their ids, without those that the server does not give.

        Lines are those of tries that run, and of tasks' last tries that failed, of the newest `MAX_LOGS`. Timings are
        those of tries that have ended.
        """
        last = {task.reference_task_name: task for task in run.tasks if task.status != "SCHEDULED"}
        told = [task.task_id for task in last.values() if not task.has_ended or task.has_failed][-MAX_LOGS:]
        ended = [task for task in run.tasks if task.has_ended and task.kind != "SUB_WORKFLOW"]
        with self._lock:
            found = {task.task_id: TryLog(timing=self._timings.get(_key(task))) for task in ended}
            unread = [task for task in ended if _key(task) not in self._timings and task.task_id not in told]
        wanted = unread[-MAX_TIMINGS:]
        until = time.monotonic() + READ_SECONDS
        if told or wanted:
            with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="perago-reads") as threads:
                logs = threads.map(self._log, told)
                timings = threads.map(lambda task: self._timing(task, until), wanted)
                found |= dict(zip(told, logs, strict=True))
                found |= {task.task_id: TryLog(timing=one) for task, one in zip(wanted, timings, strict=True)}
        return found

    def _log(self, task_id: str) -> TryLog:
        try:
            entries = self._server.log_of(task_id, timeout=CALL_SECONDS)
        except EngineError:
            return NO_LOG
        others = [entry for entry in entries if timing_in(entry) is None]
        masked = (mask_bounded(entry)[-MAX_ENTRY:] for entry in others[-MAX_LINES:])
        lines = [line for entry in masked for line in entry.splitlines()]
        return TryLog(lines=[line[:MAX_LINE] for line in lines[-MAX_LINES:]], timing=_last_timing(entries))

    def _timing(self, task: ConductorTask, until: float) -> Timing | None:
        """The timing of a try that has ended; None also if it cannot be read now."""
        if time.monotonic() > until:
            return None
        try:
            timing = _last_timing(self._server.log_of(task.task_id, timeout=CALL_SECONDS))
        except EngineError:
            return None
        is_settled = time.time() - task.started_time / 1000 - task.seconds > LATE_SECONDS
        with self._lock:
            if timing is not None or is_settled:
                self._timings[_key(task)] = timing
            for oldest in list(self._timings)[: max(len(self._timings) - MAX_KNOWN, 0)]:
                del self._timings[oldest]
        return timing

    def graph(self, run: ConductorWorkflow) -> WorkflowGraph:
        """The workflow of a run; see `graph_of`. Read once, because an instance keeps its definition.

        Raises:
            EngineError: the server refused, or did not answer.
        """

        def registered(node: SubWorkflowNode) -> Mapping[str, Any] | None:
            return self._server.get_workflow_definition(node.workflow_name, node.version, timeout=CALL_SECONDS)

        with self._lock:
            known = self._graphs.pop(run.workflow_id, None)
        graph = graph_of(run, registered) if known is None else known
        with self._lock:
            self._graphs[run.workflow_id] = graph
            for oldest in list(self._graphs)[:-MAX_GRAPHS]:
                del self._graphs[oldest]
        return graph

    def _look(self) -> None:
        try:
            found = self._read_anew()
        except Exception as exc:  # noqa: BLE001 - nobody waits for this thread; what a server answers may be anything
            fault = self._told(exc)
            with self._lock:
                self._listed = replace(self._listed, state=replace(self._listed.state, fault=fault))
        else:
            with self._lock:
                self._listed = found
        finally:
            with self._lock:
                self._is_looking, self._looked_at = False, time.monotonic()
            self._has_looked.set()

    def _told(self, exc: Exception) -> str:
        if isinstance(exc, EngineError):
            return text_of(exc)
        _LOGGER.error("the runs of %s cannot be listed: %s", self.url, traceback_of(exc))
        return f"its answer was not understood ({type(exc).__name__})"

    def _read_anew(self) -> ServerRuns:
        heads = self._server.newest_heads(MAX_INSTANCES, timeout=CALL_SECONDS)
        known = self._read
        as_of = datetime.now(UTC)
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="perago-reads") as threads:
            found = list(threads.map(lambda head: self._one(head, known.get(head.workflow_id)), heads))
        reads = [one for one in found if one is not None]
        self._read = {one.head.workflow_id: one for one in reads}
        runs = [one.summary for one in reads if one.summary is not None]
        return ServerRuns(ServerState(url=self._server.api_url, as_of=as_of, looked_at=len(heads)), runs)

    def _one(self, head: InstanceHead, known: _Read | None) -> _Read | None:
        """An instance; as it was read before if it is of another repository, or has ended and not changed since."""
        if known is not None and (known.summary is None or (known.is_final and known.head == head)):
            return known
        try:
            workflow = _learned(self._server.get_instance(head.workflow_id, timeout=CALL_SECONDS))
        except TaskNotFoundError:
            return None  # it has been removed since
        is_here = repository_of(workflow) == self._repository
        # A list needs no tasks, and there may be thousands.
        summary = replace(summary_of(workflow), tasks=()) if is_here else None
        return _Read(head, workflow.has_ended, summary)


def _key(task: ConductorTask) -> tuple[str, int]:
    """Of an execution: a rerun keeps the id of its task."""
    return task.task_id, task.started_time


def _last_timing(entries: Sequence[str]) -> Timing | None:
    return next((found for entry in reversed(entries) if (found := timing_in(entry)) is not None), None)


def _learned(workflow: ConductorWorkflow) -> ConductorWorkflow:
    if workflow.params is not None:  # else its definition does not tell which params are secrets, and none is shown
        learn_of(workflow.workflow_id, possible_secrets(workflow.definition, workflow.input_data))
    return workflow
