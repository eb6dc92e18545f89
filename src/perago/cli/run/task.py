"""`perago run` of a task: run it, and print its result."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from perago.attempt.body import InvokeBody
from perago.attempt.breakpoints import is_quit
from perago.cli.arguments import RunArguments
from perago.cli.failure import before_start, wants_traceback
from perago.cli.output import say, stdout_to_stderr
from perago.cli.progress import log_lines_on, open_display
from perago.cli.run.prepare import usage_errors
from perago.cli.run.result import RunResult, tell_next_try
from perago.running.request import RunRequest
from perago.running.task import begun, invoke_here, own_process
from perago.running.text import log_line, printable_lines
from perago.running.watch import Interrupts, RunObserver
from perago.values.redaction import mask_text, traceback_of
from perago.worker.process.messages import Log

_UNLIKE_A_RUN = (
    "Unlike in a run, its atexit functions and threads end only after its files have been published, and the task "
    "fails if the body leaves files open."
)
_DEBUG_DIFFERS = f"--debug: the body runs in this process, without a timeout. {_UNLIKE_A_RUN}"
WORKFLOW_DEBUG_DIFFERS = (
    f"--debug: each body runs in this process, one after the other, without a timeout. {_UNLIKE_A_RUN}"
)


def run_job(job: RunRequest, arguments: RunArguments) -> int:
    """Execute a run and print its result; returns the exit code."""
    cancelled = threading.Event()
    run = None
    try:
        with ExitStack() as stack:
            display = stack.enter_context(open_display(still=arguments.debug))
            stack.enter_context(log_lines_on(display))
            stack.enter_context(Interrupts(cancelled.set, at_once=arguments.debug))
            watch = RunObserver(display, cancelled)
            with before_start(), usage_errors(), stdout_for_the_result(arguments):
                tries = stack.enter_context(begun(job, watch, cancelled, reloads=True))
            run = tries.run
            invoke_body = choose_body(job, arguments, cancelled, stack, watch)
            with stdout_for_the_result(arguments):
                result = tries.go(invoke_body, retries=arguments.retries or 0, keep=arguments.keep)
            finished = RunResult.of(job, tries.run, result, watch, cancelled=cancelled.is_set())
    except KeyboardInterrupt:
        if run is not None:
            tell_next_try(f"Run {run.run_id} was interrupted.", run, arguments)
        raise
    show_traceback(watch.error, arguments)
    finished.print(arguments)
    return finished.exit_code


def choose_body(
    job: RunRequest, arguments: RunArguments, cancelled: threading.Event, stack: ExitStack, watch: RunObserver
) -> InvokeBody:
    """How the body runs: in a process of its own, or in this one for a debugger.

    Args:
        stack: ends the process that bodies are forked from.
        watch: shows the body's output.
    """
    if arguments.debug:
        say(_DEBUG_DIFFERS)
        return invoke_here

    def logged(message: Log) -> None:
        watch.line(mask_text(log_line(message)))

    return own_process(job, cancelled, stack, watch.line, on_log=logged, timeout_seconds=arguments.timeout)


@contextmanager
def stdout_for_the_result(arguments: RunArguments) -> Iterator[None]:
    """Send the output of a body in this process to stderr, unless stdout is the terminal that a debugger needs."""
    if not arguments.debug or sys.stdout.isatty():
        yield
        return
    with stdout_to_stderr():
        yield


def show_traceback(error: BaseException | None, arguments: RunArguments) -> None:
    """Print the traceback of a failure if it was asked for."""
    if error is not None and not is_quit(error) and (arguments.debug or wants_traceback()):
        say(printable_lines(traceback_of(error)))
