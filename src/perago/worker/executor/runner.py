"""Runs attempts one after the other, with the tasks and the store of an executor.

The store is opened for the first task with a workspace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from perago.attempt.body import within_limit
from perago.attempt.context import RunContext
from perago.attempt.output import status_for_exception, with_place
from perago.attempt.report import last_look
from perago.attempt.reuse import RunCache
from perago.attempt.run import run_attempt
from perago.errors import EngineError, PeragoError, TaskInputError
from perago.ports import (
    AttemptEngine,
    BranchQueue,
    EarlierResults,
    Event,
    HandedOut,
    LoadRecord,
    Observer,
    Phase,
    WorkspaceStore,
    ignore,
    no_queue,
)
from perago.stores.provider import OpenedStore
from perago.stores.table import provider_of
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import metric_groups
from perago.tasks.task_source import task_source
from perago.tasks.taskdef import build_taskdef
from perago.values.cache import RunCacheMode
from perago.values.models import (
    Attempt,
    AttemptIdentity,
    ResultStatus,
    RuntimeTaskResult,
)
from perago.values.record import InstanceRecord
from perago.values.sandbox import SandboxRecord
from perago.values.stores import StoreSettings
from perago.values.trace_context import without_trace
from perago.worker.executor.wire import Configure, DeclaredTask
from perago.workspace.queue import host_queue

_LOGGER = logging.getLogger("perago.worker")


class ExecutorStore:
    """One store for one attempt at a time.

    Args:
        settings: None without a store.
    """

    def __init__(self, settings: StoreSettings | None) -> None:
        self._settings = settings
        self._opened: OpenedStore | None = None

    def open(self, observer: Observer, merge_seconds: float | None = None) -> WorkspaceStore:
        """The store. From now on the observer receives its progress events.

        Args:
            merge_seconds: time limit for the server to publish. Default: the store's own.

        Raises:
            TaskInputError: no store is configured.
        """
        return self._store().for_attempt(observer, merge_seconds)

    def discard(self, attempt: Attempt, execution_id: str, older_than_seconds: float) -> None:
        """See `OpenedStore.discard`."""
        if self._settings is not None:
            self._store().discard(attempt, execution_id, older_than_seconds)

    def sweep(self, repository: str, older_than_seconds: float, runs_older_than_seconds: float) -> None:
        """See `OpenedStore.sweep`."""
        if self._settings is not None:
            self._store().sweep(repository, older_than_seconds, runs_older_than_seconds)

    def close(self) -> None:
        """Close connections and end threads."""
        if self._opened is not None:
            self._opened.close()

    def _store(self) -> OpenedStore:
        if self._settings is None:
            raise TaskInputError("the worker has no store: configure one (see `perago check`), or start it with --repo")
        if self._opened is None:
            self._opened = provider_of(self._settings.kind).open(self._settings)
        return self._opened


class _BodyError:
    """Observer that remembers the error of the body and passes events on.

    Attributes:
        error: the error, or None.
    """

    def __init__(self, observer: Observer) -> None:
        self.error: BaseException | None = None
        self._observer = observer

    def __call__(self, event: Event, /) -> None:
        if event.kind == "failed" and event.phase is Phase.BODY:
            self.error = event.error
        self._observer(event)


@dataclass(frozen=True, kw_only=True)
class AttemptRunner:
    """Runs attempts, one at a time.

    Attributes:
        tasks: tasks by name.
        queue: where attempts wait for others that write their branch.
        results: earlier results, for tasks with a cache; None if none are used.
        run_cache: which of them.
        tells_source: describe the tasks with their sources.
    """

    tasks: Mapping[str, TaskDefinition]
    store: ExecutorStore
    workspace_root: Path
    worker_id: str
    failure_reason_max_length: int
    queue: BranchQueue = no_queue
    results: EarlierResults | None = None
    run_cache: RunCacheMode = "off"
    tells_source: bool = False

    @classmethod
    def of(cls, configuration: Configure, tasks: Mapping[str, TaskDefinition]) -> AttemptRunner:
        return cls(
            tasks=tasks,
            store=ExecutorStore(configuration.store),
            workspace_root=Path(configuration.workspace_root),
            worker_id=configuration.worker_id,
            failure_reason_max_length=configuration.failure_reason_max_length,
            queue=_queue_of(configuration),
            results=_results_of(configuration) if any(task.cache for task in tasks.values()) else None,
            run_cache=configuration.run_cache,
            tells_source=configuration.tells_source,
        )

    def run(
        self,
        attempt: HandedOut,
        context: RunContext,
        engine: AttemptEngine,
        reached: Callable[[], SandboxRecord | None] = lambda: None,
    ) -> RuntimeTaskResult:
        """Run one attempt; raises only KeyboardInterrupt, after cleanup.

        The reason of a failure in the body names the place in its code.

        Args:
            context: the runner fills in what it knows itself.
            reached: what the body and its guards were seen to reach for.
        """
        body_error = _BodyError(context.observer)
        task = self.tasks[attempt.task_def_name]
        result = run_attempt(
            task,
            without_trace(attempt.input_data),
            attempt,
            replace(
                context,
                worker_id=self.worker_id,
                failure_reason_max_length=self.failure_reason_max_length,
                status_of=lambda exc: status_to_report(exc, attempt, engine.load_record),
                invoke_body=within_limit(context.invoke_body),
                observer=body_error,
                queue=self.queue,
                cache=None if task.cache is None else self._cache(reached),
            ),
            workspace_root=self.workspace_root,
            open_store=lambda: self.store.open(body_error, task.controls.publish_seconds),
            engine=engine,
        )
        reason = with_place(result.reason_for_incompletion, body_error.error, max_length=self.failure_reason_max_length)
        return replace(result, reason_for_incompletion=reason)

    def _cache(self, reached: Callable[[], SandboxRecord | None]) -> RunCache | None:
        if self.results is None or self.run_cache == "off":
            return None
        return RunCache(results=self.results, mode=self.run_cache, reached=reached)

    def look(self, attempt: HandedOut, load_record: LoadRecord) -> RuntimeTaskResult | None:
        """Result of another try that has completed, or None; see `attempt.report.last_look`."""
        task = self.tasks[attempt.task_def_name]
        read_history = self.store.open(ignore).read_history
        return last_look(task, attempt.input_data, attempt, read_history=read_history, load_record=load_record)()

    def declared(self) -> list[DeclaredTask]:
        """The tasks as a supervisor knows them."""
        return [
            DeclaredTask(
                name=task.name,
                target=task.target,
                has_workspace=task.has_workspace,
                is_read_only=task.workspace is not None and task.workspace.read_only,
                taskdef=build_taskdef(task),
                metric_groups=metric_groups(task.metrics),
                has_metrics=task.metrics is not None,
                is_builtin=task.is_builtin,
                source=task_source(task) if self.tells_source else None,
            )
            for task in self.tasks.values()
        ]


def _queue_of(configuration: Configure) -> BranchQueue:
    """The host's queue for an executor."""
    directory = None if configuration.state_directory is None else Path(configuration.state_directory)
    if configuration.store is None:
        return no_queue
    place, is_server = provider_of(configuration.store.kind).queue_key(configuration.store)
    return host_queue(directory, place, is_server=is_server)


def _results_of(configuration: Configure) -> EarlierResults | None:
    """The earlier results of an executor's store, as the host's indexes know them."""
    if configuration.state_directory is None or configuration.store is None:
        return None
    from perago.index.results import earlier_results

    place, is_server = provider_of(configuration.store.kind).queue_key(configuration.store)
    return earlier_results(Path(configuration.state_directory), place, is_server=is_server, tell=_LOGGER.warning)


def status_to_report(exc: BaseException, attempt: Attempt, load_record: LoadRecord) -> ResultStatus:
    """FAILED_WITH_TERMINAL_ERROR if no retry on any worker can help; otherwise FAILED, which the engine retries.

    Args:
        load_record: the engine's; called for a wrong input.
    """
    if is_final(exc) and not (isinstance(exc, TaskInputError) and _may_be_made_better(attempt, load_record)):
        return "FAILED_WITH_TERMINAL_ERROR"
    return "FAILED"


def is_final(exc: BaseException) -> bool:
    """Whether no retry can help, by the error's class."""
    if isinstance(exc, PeragoError) and not exc.retry_can_help:
        return not exc.retry_elsewhere_can_help
    return status_for_exception(exc) == "FAILED_WITH_TERMINAL_ERROR"


def is_made_amid_retries(record: InstanceRecord, identity: AttemptIdentity) -> bool:
    """Whether another task of the workflow was being retried when this one's input was made, or later.

    An engine makes a try's input from the newest tries of other tasks. A running try has no output yet, so that part
    of the input is missing. In Conductor this happens if a task's timeout and its result race: the task is COMPLETED,
    but has a retry.
    """
    made = identity.scheduled_time or 0
    others = record.beside(record.path_of(identity.workflow_instance_id, identity.reference_task_name or ""))
    late = [entry for entry in others if entry.status.is_live or (entry.ended_time or 0) >= made]
    return any(len(record.of(entry.reference_task_name)) > 1 for entry in late)


def _may_be_made_better(attempt: Attempt, load_record: LoadRecord) -> bool:
    """Whether the next try may get another input. True if the engine does not say."""
    try:
        return is_made_amid_retries(load_record(attempt), AttemptIdentity.of(attempt))
    except EngineError:
        return True
