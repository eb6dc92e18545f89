"""Makes the configuration of supervisor and executors from the settings."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from perago.http.loop import LoopThread
from perago.ports import WorkerEngine
from perago.settings import RuntimeConfig
from perago.settings.user_directories import find_state_directory
from perago.stores.table import provider_of
from perago.tasks.declare import TaskDefinition
from perago.values.stores import StoreSettings
from perago.worker.attempts.in_process import ExecutorProcess
from perago.worker.attempts.in_thread import ExecutorThread
from perago.worker.attempts.journal import Journal
from perago.worker.attempts.port import Executor
from perago.worker.body.main import load_tasks
from perago.worker.body.run import load_order
from perago.worker.body.sandbox import expect_sandbox
from perago.worker.executor.runner import AttemptRunner
from perago.worker.executor.wire import Configure
from perago.worker.supervisor.dispatcher import WorkerSettings
from perago.worker.supervisor.polling import Pace
from perago.worker.supervisor.slot import Wear
from perago.workflows import builtin

LOG_LEVELS = {"": logging.INFO, "perago": logging.WARNING, "perago.task": logging.INFO}
"""Log levels of executors: bodies' logs are wanted; Perago's work is reported by phase."""

MakeExecutor = Callable[[Journal], AbstractContextManager[Executor]]


def worker_id_of(config: RuntimeConfig) -> str:
    """The configured id, or one that is the same at each start: prefix, host, and a digest of the workspace root.

    A root has one worker at a time.
    """
    if config.worker_id:
        return config.worker_id
    root = hashlib.blake2b(os.fsencode(config.workspace_root), digest_size=3).hexdigest()
    return f"{config.worker_id_prefix}-{platform.node()}-{root}"


def worker_settings(
    config: RuntimeConfig,
    worker_id: str,
    directory: Path,
    *,
    slots: int,
    pace: Pace,
    domain: str | None = None,
    store: StoreSettings | None = None,
) -> WorkerSettings:
    """The settings of a supervisor.

    Args:
        directory: the supervisor's own; see `lock.only_supervisor`.
        store: None without one.
    """
    return WorkerSettings(
        worker_id=worker_id,
        workspace_root=config.workspace_root,
        directory=directory,
        execution_mode=config.execution_mode,
        slots=slots,
        pace=pace,
        domain=domain,
        may_have=lambda name: store is not None and provider_of(store.kind).may_have(store, name),
        wear=Wear(config.executor_max_attempts, config.executor_max_memory),
        failure_reason_max_length=config.failure_reason_max_length,
        gc_ttl_seconds=config.workspace_gc_ttl.total_seconds(),
        gc_interval_seconds=config.workspace_gc_interval.total_seconds(),
        run_branch_ttl_seconds=config.run_branch_ttl.total_seconds(),
    )


def executor_configuration(
    config: RuntimeConfig,
    worker_id: str,
    targets: Sequence[str],
    store: StoreSettings | None,
    *,
    tells_source: bool = False,
) -> Configure:
    """The first message to an executor process, which also serves the tasks of Perago itself.

    Args:
        tells_source: describe the tasks with their sources.
    """
    state = find_state_directory()
    own = builtin.MODULES if store is not None else builtin.FREE_MODULES
    return Configure(
        load=load_order([*targets, *own], config.body_start, LOG_LEVELS, sandbox=config.sandbox),
        store=store,
        workspace_root=str(config.workspace_root),
        worker_id=worker_id,
        failure_reason_max_length=config.failure_reason_max_length,
        free_tasks=config.free_tasks,
        sandbox=config.sandbox,
        state_directory=None if state is None else str(state),
        run_cache=config.run_cache or ("proven" if sys.platform == "linux" else "observed"),
        tells_source=tells_source,
        warm=config.warm,
        warm_max_size=config.warm_max_size,
    )


def process_executors(configuration: Configure, engine: WorkerEngine) -> MakeExecutor:
    """Executors as processes."""
    return lambda journal: ExecutorProcess(configuration, engine, journal)


def thread_executors(configuration: Configure, engine: WorkerEngine, loop: LoopThread) -> MakeExecutor:
    """Executors as threads of this process. Loads the modules here.

    Args:
        loop: for bodies that are `async def`; the caller closes it.

    Raises:
        TaskDefinitionError: as `load_tasks`.
        RuntimeConfigError: a task is to run in a sandbox.
    """
    tasks: dict[str, TaskDefinition] = load_tasks(configuration.load.targets)
    expect_sandbox(
        tasks.values(),
        configuration.sandbox,
        Path(configuration.workspace_root),
        in_process="in thread mode bodies run in the worker's own process",
    )

    def make(journal: Journal) -> AbstractContextManager[Executor]:
        return ExecutorThread(AttemptRunner.of(configuration, tasks), engine, journal, loop)

    return make
