"""Conductor by plain HTTP, for tests that inspect a server without the client under test, or act as a person."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from servers.json_api import Answer, ApiError, Json, JsonApi
from servers.machine import pause, slowness

__all__ = ["Answer", "ApiError", "ConductorApi", "Json", "fresh", "simple"]

T = TypeVar("T")

WAIT_SECONDS = 60.0
ENDED = frozenset({"COMPLETED", "FAILED", "TERMINATED", "TIMED_OUT"})


class ConductorApi(JsonApi):
    """One connection to one server; for one thread. A context manager.

    Args:
        url: such as http://127.0.0.1:8080/api, of the server or of a proxy in front of it.
        prefix: prefix of all paths. Default: the URL's.

    Attributes:
        url: as given.
    """

    def __init__(self, url: str, prefix: str | None = None) -> None:
        super().__init__(url, urlsplit(url).path.rstrip("/") if prefix is None else prefix)
        self.url = url

    # ---- definitions

    def define_task(self, name: str, **settings: Any) -> str:
        """Register a task. Defaults: three retries without delay, a response timeout of a minute."""
        taskdef = {
            "name": name,
            "retryCount": 3,
            "retryDelaySeconds": 0,
            "retryLogic": "FIXED",
            "timeoutSeconds": 0,
            "responseTimeoutSeconds": 60,
            "timeoutPolicy": "TIME_OUT_WF",
            "ownerEmail": "tests@example.com",
            **settings,
        }
        self.expect("POST", "/metadata/taskdefs", data=[taskdef])
        return name

    def define_workflow(self, name: str, tasks: Sequence[Mapping[str, Any]], **settings: Any) -> str:
        """Register a workflow, replacing one with the same name."""
        workflow = {
            "name": name,
            "version": 1,
            "schemaVersion": 2,
            "ownerEmail": "tests@example.com",
            "tasks": list(tasks),
            **settings,
        }
        self.expect("PUT", "/metadata/workflow", data=[workflow])
        return name

    # ---- workflows

    def start_workflow(self, name: str, input_data: Mapping[str, Any] | None = None, **settings: Any) -> str:
        """Start a workflow; returns its id."""
        data = {"name": name, "version": 1, "input": dict(input_data or {}), **settings}
        answer = self.call("POST", "/workflow", data=data)
        if answer.status != 200:
            raise ApiError(f"POST /workflow {name}", answer)
        return answer.body.decode()

    def workflow(self, workflow_id: str) -> Json:
        """A workflow with its tasks."""
        found: Json = self.expect("GET", f"/workflow/{workflow_id}", query={"includeTasks": True})
        return found

    def tasks(self, workflow_id: str, reference_task_name: str | None = None) -> list[Json]:
        """All tries of a workflow's tasks, in the server's order."""
        return [
            task
            for task in self.workflow(workflow_id)["tasks"]
            if reference_task_name in (None, task["referenceTaskName"])
        ]

    def task(self, task_id: str) -> Json:
        found: Json = self.expect("GET", f"/tasks/{task_id}")
        return found

    def queue_size(self, task: str, domain: str) -> int:
        """How many tries of a task wait in a domain, those included that were handed out and not acknowledged."""
        found: int = self.expect("GET", "/tasks/queue/size", query={"taskType": task, "domain": domain})
        return found

    def wait_for(self, workflow_id: str, condition: Callable[[Json], bool], seconds: float = WAIT_SECONDS) -> Json:
        """Poll a workflow until a condition holds; returns the workflow.

        Raises:
            AssertionError: the condition did not hold in time.
        """
        began = time.monotonic()
        deadline = began + seconds * slowness()
        while not condition(found := self.workflow(workflow_id)):
            if time.monotonic() > deadline:
                tasks = [(task["referenceTaskName"], task["status"]) for task in found["tasks"]]
                raise AssertionError(f"not within {seconds:.0f} s: {found['status']}, {tasks}")
            pause(began)
        return found

    def wait_for_end(self, workflow_id: str, seconds: float = WAIT_SECONDS) -> Json:
        return self.wait_for(workflow_id, lambda found: found["status"] in ENDED, seconds)

    def decide(self, workflow_id: str) -> None:
        """Make the server evaluate a workflow now: its own sweep notices timeouts late."""
        self.expect("PUT", f"/workflow/decide/{workflow_id}")

    def terminate(self, workflow_id: str) -> None:
        self.expect("DELETE", f"/workflow/{workflow_id}")

    def retry(self, workflow_id: str) -> None:
        """Retry a failed workflow, with a new try of the failed task."""
        self.expect("POST", f"/workflow/{workflow_id}/retry")

    def rerun(self, workflow_id: str, task_id: str) -> None:
        """Run an ended workflow again from a task, which keeps its id."""
        self.expect("POST", f"/workflow/{workflow_id}/rerun", data={"reRunFromTaskId": task_id})

    def restart(self, workflow_id: str) -> None:
        """Run an ended workflow again from its beginning, with new tasks."""
        self.expect("POST", f"/workflow/{workflow_id}/restart")

    # ---- workers

    def poll(self, task_type: str, worker_id: str = "a-test", **query: Any) -> Json | None:
        """Take a waiting task, or None."""
        found = self.poll_many(task_type, 1, worker_id, **query)
        return found[0] if found else None

    def poll_many(self, task_type: str, count: int, worker_id: str = "a-test", **query: Any) -> list[Json]:
        given = {"count": count, "timeout": 0, "workerid": worker_id, **query}
        found: list[Json] | None = self.expect("GET", f"/tasks/poll/batch/{task_type}", query=given)
        return found or []

    def wait_for_task(self, task_type: str, seconds: float = WAIT_SECONDS, **query: Any) -> Json:
        """Poll until there is a task."""
        return self.wait_while_none(lambda: self.poll(task_type, **query), seconds)

    def wait_while_none(self, look: Callable[[], T | None], seconds: float = WAIT_SECONDS) -> T:
        """Call `look` until it returns something."""
        began = time.monotonic()
        deadline = began + seconds * slowness()
        while (found := look()) is None:
            assert time.monotonic() < deadline, f"nothing within {seconds:.0f} s"
            pause(began)
        return found

    def update(self, task: Mapping[str, Any], status: str, **values: Any) -> Answer:
        """Post a result; returns the answer, even an error."""
        data = {
            "workflowInstanceId": task["workflowInstanceId"],
            "taskId": task["taskId"],
            "status": status,
            **values,
        }
        return self.call("POST", "/tasks", data=data)


def fresh(name: str) -> str:
    """A unique name for a definition."""
    return f"{name}_{uuid.uuid4().hex[:12]}"


def simple(name: str, reference: str, inputs: Mapping[str, Any] | None = None, **settings: Any) -> Json:
    """A worker's task in a workflow."""
    return {
        "name": name,
        "taskReferenceName": reference,
        "type": "SIMPLE",
        "inputParameters": dict(inputs or {}),
        **settings,
    }
