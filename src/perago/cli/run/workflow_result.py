"""`perago run` of a workflow: run it, and print its result."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from perago.cli.arguments import RunArguments
from perago.cli.failure import DONE, FENCE_REFUSED, INTERRUPTED, TASK_FAILED, before_start, exit_code_of
from perago.cli.output import note, print_json, result_on_stdout, say
from perago.cli.progress import log_lines_on
from perago.cli.run.prepare import usage_errors
from perago.cli.run.result import tell_resume
from perago.cli.run.task import WORKFLOW_DEBUG_DIFFERS, show_traceback, stdout_for_the_result
from perago.cli.run.workflow_view import open_view
from perago.engines.local import WorkflowRun
from perago.errors import PeragoError
from perago.running.request import resume_options
from perago.running.watch import Interrupts
from perago.running.workflow import WorkflowExecution, begun
from perago.running.workflow_request import WorkflowRequest
from perago.values.record import WorkflowStatus
from perago.workflows.decide import Decision

_GO_ON = "To continue with the remaining tasks:"


def run_workflow(request: WorkflowRequest, arguments: RunArguments) -> int:
    """Execute a run and print its result; returns the exit code."""
    cancelled = threading.Event()
    run = None
    try:
        with ExitStack() as stack:
            view = stack.enter_context(open_view(request.workflow.graph, still=arguments.debug))
            stack.enter_context(log_lines_on(view))
            interrupts = stack.enter_context(Interrupts(cancelled.set, at_once=arguments.debug))
            jobs = arguments.jobs
            if arguments.debug:
                request, jobs = replace(request, targets={}), 1
                say(WORKFLOW_DEBUG_DIFFERS)
            with before_start(), usage_errors(), stdout_for_the_result(arguments):
                execution = stack.enter_context(
                    begun(
                        request,
                        view,
                        cancelled,
                        jobs=jobs,
                        fast=arguments.fast_retries,
                        keep=arguments.keep,
                        reloads=True,
                    )
                )
            run = execution.run
            with stdout_for_the_result(arguments):
                decision = execution.go()
            commit = _commit_of(execution, decision)
            is_interrupted = interrupts.count > 0 or execution.was_cancelled  # by leaving the debugger
            finished = _Finished(
                run,
                decision,
                commit,
                execution.error,
                execution.kept,
                is_interrupted=is_interrupted,
                has_result=request.workflow.has_result,
            )
    except KeyboardInterrupt:
        if run is not None:
            note(f"Run {run.run_id} was interrupted. {_GO_ON}")
            tell_resume(run, arguments)
        raise
    show_traceback(finished.error, arguments)
    finished.print(arguments)
    return finished.exit_code


def _commit_of(execution: WorkflowExecution, decision: Decision) -> str | None:
    if decision.status is not WorkflowStatus.COMPLETED:
        return None
    with suppress(PeragoError):  # the run has completed all the same
        return execution.output_commit(decision)
    return None


@dataclass(frozen=True)
class _Finished:
    """The end of a run.

    Attributes:
        commit: that it has completed with, of a join the newest; None if there is none, or its history is unreadable.
        kept: paths of kept workspaces, by the reference name of their task.
        has_result: the workflow has one to show.
    """

    run: WorkflowRun
    decision: Decision
    commit: str | None
    error: BaseException | None
    kept: Mapping[str, Sequence[str]]
    is_interrupted: bool
    has_result: bool

    @property
    def exit_code(self) -> int:
        if self.decision.status is WorkflowStatus.COMPLETED:
            return DONE
        if self.is_interrupted:
            return INTERRUPTED
        refused = self.error is not None and exit_code_of(self.error) == FENCE_REFUSED
        return FENCE_REFUSED if refused else TASK_FAILED

    def print(self, arguments: RunArguments) -> None:
        """Print the result on stdout, and what became of the run on stderr."""
        output = self.decision.output
        with result_on_stdout():
            if arguments.as_json:
                print_json(self.as_object())
            elif self.decision.status is WorkflowStatus.COMPLETED and self.has_result:
                print_json(output.get("result", output))
        name, commit = self.run.record.name, self.commit
        if self.exit_code == DONE:
            note(f"Workflow {name} is done, run {self.run.run_id}{f': commit {commit}' if commit else ''}.")
            return
        word = "was cancelled" if self.exit_code == INTERRUPTED else f"is {self.decision.status}"
        is_told = self.exit_code == INTERRUPTED and self.decision.status is WorkflowStatus.TERMINATED
        note(f"error: workflow {name} {word}{'.' if is_told else f': {self.decision.reason}'}")
        if (branch := self.run.record.run_branch) is not None:
            note(f"What its tasks published is on the run's own branch {branch}, and nowhere else.")
        options = resume_options(self.run, self.error)
        if options is None:
            note(f"Run {self.run.run_id} ended.")
            return
        note(f"Run {self.run.run_id} ended. {'To run it again from the current head:' if options else _GO_ON}")
        tell_resume(self.run, arguments, *options)

    def as_object(self) -> dict[str, Any]:
        record = self.run.record
        return {
            "run_id": record.run_id,
            "workflow": record.name,
            "status": self.decision.status.value,
            "exit_code": self.exit_code,
            "output": self.decision.output or None,
            "reason": self.decision.reason,
            "tasks": [
                {
                    "reference_name": entry.reference_task_name,
                    "task": entry.task_name,
                    "status": entry.status.value,
                    "tries": entry.retry_count + 1,
                    "seconds": None if entry.duration_ms is None else entry.duration_ms / 1000,
                    "cached_from": entry.cached_from,
                    "output": entry.output,
                    "reason": entry.reason,
                    "kept": list(self.kept.get(entry.reference_task_name, ())),
                }
                for entry in record.tasks
            ],
        }
