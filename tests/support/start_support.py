"""`perago start` as a process of its own, against a real Conductor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from perago.stores.git import GitStore
from perago.tasks.load import load_module_tasks
from perago.tasks.taskdef import build_taskdef
from servers.conductor_api import ConductorApi, fresh, simple
from waiting import wait_for

MODULES = Path(__file__).parents[1] / "worker" / "modules"
READY_SECONDS = 90.0


class StartedWorker:
    """The process; its log and its status can be looked at. A context manager that leaves nothing running."""

    def __init__(self, directory: Path, url: str, modules: list[str], *options: str, **variables: str) -> None:
        self.root = directory / "workspaces"
        self.logs = directory / "logs"
        self.repository = directory / "data.git"
        self.errors = directory / "stderr.txt"
        self.output = directory / "stdout.txt"
        self.stdout: int | None = None
        """A descriptor for what it prints, in the place of that file."""
        self._command = [sys.executable, "-m", "perago", "start", *modules, *options]
        self._environment = {
            **os.environ,
            "CONDUCTOR_SERVER_URL": url,
            "PERAGO_WORKSPACE_ROOT": str(self.root),
            "PERAGO_LOG_ROOT": str(self.logs),
            "PERAGO_CACHE_DIR": str(directory / "cache"),
            "PYTHONPATH": str(MODULES),
            **variables,
        }
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StartedWorker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        with self.errors.open("ab") as errors, self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output if self.stdout is None else self.stdout,
                stderr=errors,
            )

    @property
    def is_ready(self) -> bool:
        """Whether it polls, this very process."""
        status = self.status()
        worker = status["worker"]
        return status["running"] and worker["pid"] == self.pid and bool(worker["polled_at"])

    def wait_ready(self) -> StartedWorker:
        """Until it polls, this very process."""

        def polls() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.told()
            return self.is_ready

        wait_for(polls, "the worker to poll", READY_SECONDS)
        return self

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 60.0) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(seconds)

    def status(self) -> dict[str, Any]:
        from perago.worker.supervisor.lock import is_locked
        from perago.worker.supervisor.status import STATUS_FILE

        path = self.root / "supervisor" / STATUS_FILE
        worker = json.loads(path.read_text()) if path.exists() else None
        return {"running": worker is not None and is_locked(self.root), "worker": worker}

    def perago_status(self, *options: str) -> tuple[int, str]:
        """What `perago status` exits with, and prints."""
        command = [sys.executable, "-m", "perago", "status", *options]
        done = subprocess.run(
            command, cwd=self._directory, env=self._environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout

    def lines(self) -> list[dict[str, Any]]:
        """Of its log."""
        return [json.loads(line) for path in self.logs.glob("*.jsonl") for line in path.read_text().splitlines()]

    def told(self) -> str:
        """What it has written to stderr."""
        return self.errors.read_text()


class TaskFlow:
    """Tasks of a module, registered under their own names, each in a workflow of its own.

    Names of tasks are fixed in modules, so that queues are kept apart by a domain of the test's own.
    """

    def __init__(self, api: ConductorApi, module: str, **settings: Any) -> None:
        self.api = api
        self.domain = fresh("domain")
        for task in load_module_tasks(module):
            taskdef = {**build_taskdef(task), **settings}
            api.expect("POST", "/metadata/taskdefs", data=[taskdef])

    def start(
        self, task: str, params: dict[str, Any] | None = None, given: dict[str, Any] | None = None, **more: Any
    ) -> str:
        """Start a workflow of one task; returns its id. `given` is the workflow's own input."""
        inputs = {"params": params or {}, **more}
        name = self.api.define_workflow(fresh("flow"), [simple(task, "only", inputs)])
        return self.api.start_workflow(name, given, taskToDomain={task: self.domain})

    def task(self, workflow_id: str) -> dict[str, Any]:
        """The last try of its task."""
        return self.api.tasks(workflow_id, "only")[-1]

    def completed(self, workflow_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """The task's output."""
        found = self.api.wait_for_end(workflow_id, seconds)
        assert found["status"] == "COMPLETED", (found["status"], self.task(workflow_id).get("reasonForIncompletion"))
        output: dict[str, Any] = self.task(workflow_id)["outputData"]
        return output

    def wait_status(self, workflow_id: str, status: str, seconds: float = 60.0) -> dict[str, Any]:
        """Until the last try of its task has a status."""
        wait_for(lambda: self.task(workflow_id)["status"] == status, f"{status}", seconds)
        return self.task(workflow_id)


def lives(process: psutil.Process) -> bool:
    """Whether it is there, and no zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def begin_stubborn_publication(flow: TaskFlow, worker: StartedWorker, path: Path) -> tuple[str, Path]:
    """Have a body run in a workspace that ends by SIGKILL alone; returns its workflow and where its workspace is.

    Args:
        path: where the body writes that.
    """
    workflow = flow.start("space.stubborn", {"path": str(path)}, workspace=workspace_of(worker))
    wait_for(lambda: path.exists() and path.read_text() != "", "the body")
    return workflow, Path(path.read_text())


def drain(worker: StartedWorker) -> None:
    """Send the first signal, and see that it has come."""
    worker.signal(signal.SIGTERM)
    wait_for(lambda: worker.status()["worker"]["state"] == "draining", "the drain")


def store_of(worker: StartedWorker) -> GitStore:
    return GitStore(worker.repository)


def workspace_of(worker: StartedWorker) -> dict[str, str]:
    """The head of its repository's `main`, as a task's input."""
    ref = store_of(worker).branch_head("main")
    return {"repository": "data", "branch": "main", "refType": "commit", "ref": ref}


def in_body(worker: StartedWorker, task_id: str) -> bool:
    """Whether the task's body has told progress."""
    slots = (worker.status()["worker"] or {"slots": []})["slots"]
    return any(slot["job"] and slot["job"]["task_id"] == task_id and slot["job"]["progress"] for slot in slots)
