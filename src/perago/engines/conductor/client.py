"""The Conductor server's API, typed: the calls that a worker makes, over one connection pool."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from perago._version import __version__
from perago.engines.conductor import mapping
from perago.engines.conductor.api import CALL_SECONDS, Api, Query, api_root, json_bytes, segment
from perago.engines.conductor.failure import ConductorError, ConductorNotFoundError
from perago.engines.conductor.token import KeyToken
from perago.errors import RuntimeConfigError
from perago.files.credentials import Credentials
from perago.http.answer import FaultKind
from perago.http.retry import RetryPolicy
from perago.http.sync import Flight, SyncSession
from perago.values.credentials import CONDUCTOR_KEY, CONDUCTOR_SECRET
from perago.values.models import Attempt, EngineTask, RuntimeTaskResult
from perago.values.tree import WorkflowInstance

T = TypeVar("T")

POLL_SECONDS = 10.0
"""Deadline of a poll. The server answers at once, because the call's timeout parameter is 0."""

LOG_SECONDS = 5.0
MAX_LOG_BYTES = 64 * 1024
"""Limit for one entry of a task's log; the rest is cut off."""

MAX_READS_AT_ONCE = 8
READS_SECONDS = CALL_SECONDS
"""Deadline for all of many parallel reads together, the same as for one."""

_POLICY = RetryPolicy(tries=4, base_seconds=0.05, longest_seconds=2.0, patience_seconds=0.0)


class ConductorClient(Api):
    """All calls of the engine, each in its caller's thread.

    Every call has a deadline and raises `ConductorError`. Reads are retried if that can help. Calls that change a task
    are retried only if nothing was sent. To repeat one after that, check the attempt fence first.
    """

    @classmethod
    def connect(
        cls,
        server_url: str,
        auth_key: str | None = None,
        auth_secret: str | None = None,
        *,
        credentials: Credentials | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 16,
    ) -> ConductorClient:
        """A client for a server. Sends nothing yet.

        Args:
            auth_key, auth_secret: an access key, if the server requires one; both or neither.
            credentials: instead, an access key that is read again when its files change.
            ca_file: certificates to trust; None for the system's.
            connections: maximum at the same time.

        Raises:
            RuntimeConfigError: the URL is not a server's, the key is incomplete, the file contains no certificates, or
                the environment's proxy is invalid.
        """
        if (auth_key is None) != (auth_secret is None):
            raise RuntimeConfigError("give CONDUCTOR_AUTH_KEY and CONDUCTOR_AUTH_SECRET together, or neither")
        root, agent = api_root(server_url), f"perago/{__version__}"
        try:
            session = SyncSession(root, ca_file=ca_file, connections=connections, policy=_POLICY, user_agent=agent)
        except OSError as exc:  # ssl.SSLError is one
            raise RuntimeConfigError(
                f"the CA file {os.fspath(ca_file or '')!a} cannot be used: {exc.strerror or exc}; "
                f"give a file of certificates in PEM format"
            ) from exc
        except ValueError as exc:
            raise RuntimeConfigError(f"{exc}; correct it, or exclude the server with NO_PROXY") from exc
        if credentials is None and auth_key is not None and auth_secret is not None:
            credentials = Credentials({CONDUCTOR_KEY: auth_key, CONDUCTOR_SECRET: auth_secret}, {})
        return cls(root, session, None if credentials is None else KeyToken(credentials))

    def close(self) -> None:
        """Close all connections, including those of calls in progress."""
        self.session.close()

    # ---- polling

    def poll_type(self, task_type: str, count: int, worker_id: str, domain: str | None = None) -> list[EngineTask]:
        """Take up to `count` waiting tasks, without waiting for more."""
        query: Query = {"workerid": worker_id, "count": count, "timeout": 0, "domain": domain}
        tasks = self.take(f"/tasks/poll/batch/{segment(task_type)}", query, timeout=POLL_SECONDS)
        return self._readable(tasks if isinstance(tasks, list) else ())

    def _readable(self, tasks: Iterable[object]) -> list[EngineTask]:
        """The tasks of a poll.

        A task that cannot be read, and therefore not run, is failed for good, so that the others are not lost.
        """
        attempts = []
        for task in tasks:
            try:
                attempts.append(mapping.polled_attempt_of(task))
            except ValueError as exc:
                self._refuse(task, f"Perago cannot run this task: {exc}")
        return attempts

    def last_poll(self, task_type: str, domain: str | None = None) -> int | None:
        """When a worker last polled for a task type, in milliseconds by the server's clock; None for never."""
        found = self.get("/tasks/queue/polldata", {"taskType": task_type})
        polls = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
        times = [one.get("lastPollTime") for one in polls if one.get("domain") == domain]
        return max((time for time in times if isinstance(time, int)), default=None)

    # ---- reading

    def get_task(self, task_id: str, *, timeout: float = CALL_SECONDS) -> EngineTask:
        """The current state of a task.

        Raises:
            TaskNotFoundError: it does not exist; a restart, a rerun or a person removed it.
        """
        path = f"/tasks/{segment(task_id)}"
        return self._read(f"GET {path}", mapping.attempt_of, self.get(path, timeout=timeout))

    def get_tasks(self, task_ids: Iterable[str]) -> dict[str, EngineTask | None]:
        """The current state of tasks, by id; None if a task no longer exists. Tasks that cannot be read within
        `READS_SECONDS` are left out.

        Raises:
            ConductorError: none of them can be read.
        """
        ids = list(dict.fromkeys(task_ids))
        deadline = time.monotonic() + READS_SECONDS

        def read(task_id: str) -> EngineTask | ConductorError | None:
            try:
                left = deadline - time.monotonic()
                if left > 0:
                    return self.get_task(task_id, timeout=left)
            except ConductorNotFoundError:
                return None
            except ConductorError as error:
                if time.monotonic() < deadline:
                    return error
            message = f"no answer within {READS_SECONDS:g} s"
            return ConductorError("GET /tasks", self.root, status=None, message=message, fault=FaultKind.TIMEOUT)

        if len(ids) < 2:  # the usual case needs no thread
            answers = {task_id: read(task_id) for task_id in ids}
        else:
            with ThreadPoolExecutor(min(len(ids), MAX_READS_AT_ONCE), thread_name_prefix="perago-reads") as threads:
                answers = dict(zip(ids, threads.map(read, ids), strict=True))
        errors = [answer for answer in answers.values() if isinstance(answer, ConductorError)]
        if errors and len(errors) == len(ids):
            raise errors[0]
        return {task_id: answer for task_id, answer in answers.items() if not isinstance(answer, ConductorError)}

    def get_instance(self, workflow_id: str) -> WorkflowInstance:
        """A workflow instance with all its tries.

        Raises:
            TaskNotFoundError: there is no such workflow.
        """
        path = f"/workflow/{segment(workflow_id)}"
        return self._read(f"GET {path}", mapping.instance_of, self.get(path, {"includeTasks": True}))

    # ---- writing

    def post_result(self, attempt: Attempt, result: RuntimeTaskResult) -> None:
        """Send a result, once. The server silently drops one for a task that has ended."""
        self.post("/tasks", mapping.task_result(attempt, result, datetime.now(UTC)), idempotent=False)

    def post_result_and_take(self, attempt: Attempt, result: RuntimeTaskResult) -> EngineTask | None:
        """As `post_result`, and return the next task of the same type and domain, if there is one.

        Raises:
            TaskNotFoundError: there is no such task, or the server is too old for this call.
        """
        document = mapping.task_result(attempt, result, datetime.now(UTC))
        answer = self.post("/tasks/update-v2", document, idempotent=False)
        if not answer.body:
            return None
        task = self._parsed("POST /tasks/update-v2", answer)
        return next(iter(self._readable([task])), None)

    def extend_lease(self, attempt: Attempt, *, timeout: float = CALL_SECONDS, flight: Flight = nullcontext) -> None:
        """Send a heartbeat. The answer does not show who holds the task. `flight`: see `send`."""
        body = json_bytes(mapping.heartbeat(attempt))
        self.send("/tasks", body, idempotent=False, timeout=timeout, flight=flight)

    def give_back(self, attempt: Attempt) -> None:
        """Return a task to its queue at once, without using up a retry."""
        self.post("/tasks", mapping.give_back(attempt), idempotent=False)

    def log(self, task_id: str, text: str) -> None:
        """Add an entry to a task's log, even after the task has ended."""
        body = text.encode(errors="replace")[:MAX_LOG_BYTES].decode(errors="ignore").encode()
        self.send(f"/tasks/{segment(task_id)}/log", body, idempotent=False, timeout=LOG_SECONDS)

    def get_log(self, task_id: str, *, timeout: float = CALL_SECONDS) -> list[str]:
        """The entries of a task's log that the server's index has, the oldest first."""
        found = self.get(f"/tasks/{segment(task_id)}/log", timeout=timeout)
        entries = [one for one in (found if isinstance(found, list) else ()) if isinstance(one, Mapping)]
        entries.sort(key=lambda one: str(one.get("createdTime", "")))
        return [str(one.get("log", "")) for one in entries]

    # ---- definitions

    def get_taskdef(self, name: str) -> dict[str, Any] | None:
        """A registered TaskDef; None if there is none of that name."""
        try:
            document = self.get(f"/metadata/taskdefs/{segment(name)}")
        except ConductorNotFoundError:
            return None
        return dict(document) if isinstance(document, Mapping) else None

    def put_taskdef(self, taskdef: Mapping[str, Any]) -> None:
        """Register a TaskDef, replacing one of the same name."""
        self.post("/metadata/taskdefs", [taskdef], idempotent=True)

    def get_workflow_definition(
        self, name: str, version: int | None = None, *, timeout: float = CALL_SECONDS
    ) -> dict[str, Any] | None:
        """A registered workflow definition; None if there is none. Default: the latest version."""
        try:
            document = self.get(f"/metadata/workflow/{segment(name)}", {"version": version}, timeout=timeout)
        except ConductorNotFoundError:
            return None
        return dict(document) if isinstance(document, Mapping) else None

    def put_workflow_definition(self, definition: Mapping[str, Any]) -> None:
        """Register a workflow definition, replacing the same version of it."""
        self.put("/metadata/workflow", [definition])

    # ---- workflows

    def start_workflow(self, name: str, version: int, input_data: Mapping[str, Any]) -> str:
        """Start a workflow. Returns its id."""
        answer = self.post("/workflow", {"name": name, "version": version, "input": input_data}, idempotent=False)
        return answer.body.decode(errors="replace").strip().strip('"')

    def get_workflow(self, workflow_id: str, *, timeout: float = CALL_SECONDS) -> dict[str, Any]:
        """A workflow instance with all its tasks, as the server's JSON.

        Raises:
            TaskNotFoundError: there is no such workflow.
        """
        document = self.get(f"/workflow/{segment(workflow_id)}", {"includeTasks": True}, timeout=timeout)
        return dict(document) if isinstance(document, Mapping) else {}

    def search_workflows(self, start: int, count: int, *, timeout: float = CALL_SECONDS) -> list[Mapping[str, Any]]:
        """Summaries of workflow instances, newest first, as far as the server has an index of them."""
        query: Query = {"start": start, "size": count, "sort": "startTime:DESC", "freeText": "*"}
        document = self.get("/workflow/search", query, timeout=timeout)
        found = document.get("results") if isinstance(document, Mapping) else None
        return [one for one in (found if isinstance(found, list) else ()) if isinstance(one, Mapping)]

    def terminate_workflow(self, workflow_id: str, reason: str) -> None:
        """End a running workflow; its live tasks are CANCELED."""
        self.delete(f"/workflow/{segment(workflow_id)}", {"reason": reason})

    def retry_workflow(self, workflow_id: str, *, resume_sub_workflows: bool) -> None:
        """Retry the last failed tasks of a workflow that has failed or was terminated."""
        query = f"resumeSubworkflowTasks={str(resume_sub_workflows).lower()}"
        self.post(f"/workflow/{segment(workflow_id)}/retry?{query}", {}, idempotent=False)

    def rerun_workflow(self, workflow_id: str, task_id: str | None) -> None:
        """Run a workflow that has ended again from a task on; without one, from the beginning, with new tasks."""
        body = {} if task_id is None else {"reRunFromTaskId": task_id}
        self.post(f"/workflow/{segment(workflow_id)}/rerun", body, idempotent=False)

    # ---- internals

    def _refuse(self, task: object, reason: str) -> None:
        document = mapping.refusal(task, reason)
        if document is not None:
            with suppress(ConductorError):  # it will time out, and be refused again
                self.post("/tasks", document, idempotent=False)

    def _read(self, call: str, read: Callable[[mapping.Document], T], document: Any) -> T:
        try:
            return read(document if isinstance(document, Mapping) else {})
        except ValueError as exc:
            raise ConductorError(call, self.root, status=200, message=f"an incomplete document ({exc})") from exc
