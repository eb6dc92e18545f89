"""A supervised worker on the in-memory engine, for tests that play the person at that."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from perago.http.loop import LoopThread
from perago.telemetry.sink import OFF
from perago.values.record import TryRecord, TryStatus
from perago.worker.body.run import load_order
from perago.worker.configuration import LOG_LEVELS, process_executors, thread_executors
from perago.worker.executor.wire import Configure
from perago.worker.supervisor.dispatcher import WorkerSettings
from perago.worker.supervisor.lock import only_supervisor
from perago.worker.supervisor.polling import Pace
from perago.worker.supervisor.supervisor import Supervisor
from waiting import wait_for
from worker_engine import MemoryWorkerEngine

PACE = Pace(after=lambda _idle: 0.02, after_failures=lambda _failures, _jitter: 0.05)


class Supervised:
    """A worker with slots that are ready. A context manager."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.engine: MemoryWorkerEngine = options.pop("engine", None) or MemoryWorkerEngine()
        self.root = root
        self._targets = options.pop("targets", ["supervised_bodies"])
        self._store = options.pop("store", None)
        self._mode = options.pop("mode", "process")
        self._body_start = options.pop("body_start", "fork")
        self._free_tasks = options.pop("free_tasks", "warm")
        self._sandbox = options.pop("sandbox", "off")
        self._telemetry = options.pop("telemetry", OFF)
        self._options = {"slots": 1, **options}
        self._names = 0
        self._stack = ExitStack()

    def __enter__(self) -> Supervised:
        self._strangers = _descendants()
        with ExitStack() as stack:
            directory = stack.enter_context(only_supervisor(self.root, "worker-1"))
            configuration = Configure(
                load=load_order(self._targets, self._body_start, LOG_LEVELS, sandbox=self._sandbox),
                store=self._store,
                workspace_root=str(self.root),
                worker_id="worker-1",
                failure_reason_max_length=500,
                free_tasks=self._free_tasks,
                sandbox=self._sandbox,
            )
            settings = WorkerSettings(
                worker_id="worker-1",
                workspace_root=self.root,
                directory=directory,
                execution_mode=self._mode,
                pace=PACE,
                **self._options,
            )
            if self._mode == "process":
                make = process_executors(configuration, self.engine)
            else:
                loop = LoopThread("perago-bodies")
                stack.callback(loop.close)
                make = thread_executors(configuration, self.engine, loop)
            self.supervisor = Supervisor(settings, self.engine, make, telemetry=self._telemetry)
            stack.callback(self._close)
            self.supervisor.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.__exit__(*exc_info)

    def _close(self) -> None:
        from perago.worker.attempts.job import Cause

        self.supervisor.drain()
        self.supervisor.end(Cause.AT_ONCE)
        assert self.supervisor.close(30), "the worker did not end"

    # ---- the person at the engine

    def schedule(self, task: str, params: dict[str, Any] | None = None, **options: Any) -> str:
        """Have a task wait; returns its reference name. `input_data` replaces the input whole."""
        self._names += 1
        reference = f"step-{self._names}"
        workflow = options.pop("workflow", None) or self.engine.tasks.start_workflow()
        self.where = workflow
        input_data = options.pop("input_data", {"params": params or {}})
        self.engine.tasks.schedule(task, input_data, reference_task_name=reference, workflow=workflow, **options)
        return f"{workflow}/{reference}"

    def tries(self, name: str) -> tuple[TryRecord, ...]:
        workflow, reference = name.split("/")
        return self.engine.tasks.record(workflow).of(reference)

    def ended(self, name: str, seconds: float = 20.0) -> TryRecord:
        """The last try, once it has ended."""
        wait_for(lambda: self.tries(name) and not self.tries(name)[-1].status.is_live, f"{name} to end", seconds)
        return self.tries(name)[-1]

    def completed(self, name: str, seconds: float = 20.0) -> dict[str, Any]:
        """The result of a task that completes."""
        last = self.ended(name, seconds)
        assert last.status is TryStatus.COMPLETED, self.engine.tasks.reason(last.task_id)
        return dict((last.output or {})["result"])

    def reason(self, name: str, seconds: float = 20.0) -> str:
        """Why a task fails."""
        last = self.ended(name, seconds)
        assert last.status in (TryStatus.FAILED, TryStatus.FAILED_WITH_TERMINAL_ERROR), last.status
        return self.engine.tasks.reason(last.task_id) or ""

    def in_body(self, name: str, seconds: float = 20.0) -> str:
        """Wait until its body runs, that is, has told progress; returns the task id."""

        def told() -> bool:
            return any(job.progress and job.attempt.task_id == self.tries(name)[-1].task_id for job in self.jobs())

        wait_for(told, f"{name} to be in its body", seconds)
        return self.tries(name)[-1].task_id

    def body_pid(self, name: str) -> int:
        """The process of a body that tells its id as its progress, once it has."""
        task_id = self.in_body(name)
        (told,) = (job.progress["message"] for job in self.jobs() if job.attempt.task_id == task_id)
        return int(told)

    def jobs(self) -> list[Any]:
        return self.supervisor.jobs()

    def executors(self) -> list[psutil.Process]:
        """The executor processes: what this worker began and nothing runs under; not the servers of other tests."""
        return [process for process in _descendants() - self._strangers if not process.children()]


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))
