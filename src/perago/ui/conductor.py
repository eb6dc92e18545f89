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

from perago.engines.conductor.workflow import ConductorWorkflow, InstanceHead
from perago.engines.local import RunSummary
from perago.errors import EngineError, RunNotFoundError, TaskNotFoundError
from perago.running.conductor import graph_of, repository_of, summary_of
from perago.values.redaction import learn_of, mask_bounded, text_of, traceback_of
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
    """How the list of a server was had.

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

    def lines(self, run: ConductorWorkflow) -> Mapping[str, Sequence[str]]:
        """The last lines of the logs of tries that run, and of tasks' last tries that failed, by the ids of the tries.

        Those of the newest `MAX_LOGS`, without those that the server does not give.
        """
        last = {task.reference_task_name: task for task in run.tasks if task.status != "SCHEDULED"}
        wanted = [task.task_id for task in last.values() if not task.has_ended or task.has_failed][-MAX_LOGS:]
        if not wanted:
            return {}
        with ThreadPoolExecutor(len(wanted), thread_name_prefix="perago-reads") as threads:
            return dict(zip(wanted, threads.map(self._log, wanted), strict=True))

    def _log(self, task_id: str) -> Sequence[str]:
        try:
            entries = self._server.log_of(task_id, timeout=CALL_SECONDS)
        except EngineError:
            return ()
        masked = (mask_bounded(entry)[-MAX_ENTRY:] for entry in entries[-MAX_LINES:])
        lines = [line for entry in masked for line in entry.splitlines()]
        return [line[:MAX_LINE] for line in lines[-MAX_LINES:]]

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


def _learned(workflow: ConductorWorkflow) -> ConductorWorkflow:
    if workflow.params is not None:  # else its definition does not tell which params are secrets, and none is shown
        learn_of(workflow.workflow_id, possible_secrets(workflow.definition, workflow.input_data))
    return workflow
