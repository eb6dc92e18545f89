"""`perago run --task-id`: run a recorded Conductor task again here. It publishes and reports nothing."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import click

from perago.attempt.body import within_limit
from perago.attempt.context import RunContext
from perago.attempt.free import run_free_attempt
from perago.attempt.output import with_place
from perago.cli.arguments import RunArguments
from perago.cli.conductor import open_conductor
from perago.cli.failure import DONE, INTERRUPTED, TASK_FAILED, before_start
from perago.cli.loading import load_task
from perago.cli.output import note, print_json
from perago.cli.progress import log_lines_on, open_display
from perago.cli.run.prepare import in_process, run_config
from perago.cli.run.rehearsal import rehearse
from perago.cli.run.task import choose_body, show_traceback, stdout_for_the_result
from perago.errors import RuntimeConfigError, required
from perago.running.recordable import learn_secrets
from perago.running.repos.address import address_in_configured_store, local_engine, parse_address
from perago.running.request import RunRequest
from perago.running.watch import Interrupts, RunObserver
from perago.settings import RuntimeConfig
from perago.settings.stores import TO_CONFIGURE
from perago.stores.provider import RepositoryAddress
from perago.tasks.declare import TaskDefinition
from perago.values.joins import input_repository
from perago.values.models import AttemptIdentity, EngineTask
from perago.values.trace_context import without_trace


def replay(arguments: RunArguments) -> int:
    """Replay a task; returns the exit code.

    Raises:
        UsageError: the id belongs to another task, or no repository is known for its input.
        TaskNotFoundError: the server does not have the task, or no longer.
        EngineUnavailableError, RuntimeConfigError: the server cannot be reached, or none is configured.
    """
    target = required(arguments.module, "a replay names a module")
    task = load_task(target)
    config = run_config(arguments, target)
    with before_start():
        recorded = _recorded(arguments, task, config)
    note(_beginning(recorded))
    job = RunRequest(
        task=task,
        target=target,
        config=config,
        repository=_repository(arguments, task, recorded),
        engine=local_engine(None),
        input_data=without_trace(recorded.input_data),
        in_process=in_process(arguments),
    )
    return rehearse(job, arguments) if task.has_workspace else _replay_free(job, arguments)


def _recorded(arguments: RunArguments, task: TaskDefinition, config: RuntimeConfig) -> EngineTask:
    task_id = required(arguments.task_id, "a replay names a task id")
    with open_conductor(config) as engine:
        recorded = engine.load_task(task_id)
    if recorded.task_def_name != task.name:
        raise click.UsageError(
            f"--task-id {arguments.task_id} belongs to task {recorded.task_def_name!r}, but {arguments.module} is "
            f"task {task.name!r}"
        )
    return recorded


def _repository(arguments: RunArguments, task: TaskDefinition, recorded: EngineTask) -> RepositoryAddress | None:
    """Repository of the input: on the configured lakeFS server, unless `--repo` is given."""
    if not task.has_workspace:
        return None
    if arguments.repo is not None:
        return parse_address(arguments.repo)
    name = input_repository(recorded.input_data)
    if name is None:
        raise click.UsageError(
            f"the input of {AttemptIdentity.of(recorded).label} names no repository; give one with --repo"
        )
    address = address_in_configured_store(name)
    if address is None:
        raise RuntimeConfigError(f"no store is configured for repository {name!r}: {TO_CONFIGURE}")
    return address


def _replay_free(job: RunRequest, arguments: RunArguments) -> int:
    job.expect_sandbox()
    input_data = required(job.input_data, "the input of a replayed task was recorded")
    cancelled = threading.Event()
    with ExitStack() as stack:
        display = stack.enter_context(open_display(still=arguments.debug))
        stack.enter_context(log_lines_on(display))
        stack.enter_context(Interrupts(cancelled.set, at_once=arguments.debug))
        watch = RunObserver(display, cancelled)
        with stdout_for_the_result(arguments):
            learn_secrets(job.task.params_model, input_data.get("params"))
            context = RunContext(
                failure_reason_max_length=job.config.failure_reason_max_length,
                invoke_body=within_limit(choose_body(job, arguments, cancelled, stack, watch)),
                is_cancelled=cancelled.is_set,
                on_failure=watch.fail,
                observer=watch,
            )
            result = run_free_attempt(job.task, input_data, None, context)
    show_traceback(watch.error, arguments)
    if result.output is not None:
        print_json({"dry_run": True, **result.output} if arguments.as_json else result.output["result"])
        note("Replayed. Nothing was reported.")
        return DONE
    code = INTERRUPTED if cancelled.is_set() else TASK_FAILED
    max_length = job.config.failure_reason_max_length
    reason = with_place(result.reason_for_incompletion, watch.error, max_length=max_length)
    if arguments.as_json:
        print_json({"dry_run": True, "exit_code": code, "reason": reason})
    word = "was cancelled" if cancelled.is_set() else "failed"
    note(f"error: task {job.task.name} {word}: {reason}")
    return code


def _beginning(recorded: EngineTask) -> str:
    of = f"{recorded.workflow_type} " if recorded.workflow_type else ""
    return (
        f"Replaying task {recorded.reference_task_name!r} of workflow {of}({recorded.workflow_instance_id}), "
        f"{recorded.status}, try {recorded.retry_count + 1}: {recorded.task_id}. Nothing is published or reported"
    )
