"""Record attempts: their phases, and the log lines, progress and metrics of their bodies."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from perago.ports import PHASES, Event, HandedOut, Phase
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.instruments import EXECUTOR_DEATHS, REPORT_RETRIES, Group
from perago.telemetry.json_lines import FIELDS_ATTRIBUTE
from perago.telemetry.logs import warning_for
from perago.telemetry.sink import OFF, Telemetry
from perago.values.code import TaskSource
from perago.values.redaction import mask_text
from perago.values.trace_context import trace_context_of
from perago.worker.attempts.job import Job
from perago.worker.executor.wire import PhaseEvent
from perago.worker.process.messages import Log, Metric

LOGGER = logging.getLogger("perago.worker")

PROGRESS_SECONDS = 5.0
"""Minimum time between two progress lines of one task in the engine's task log."""


class TaskLines(Protocol):
    """Takes lines for the engine's log of a task."""

    def add(self, attempt: HandedOut, text: str) -> None: ...


class Journal:
    """Writes to the worker's log, the engine's task log, and telemetry. For any thread.

    Args:
        lines: task log of the engine, for log lines and progress of bodies.
        on_change: called when a phase begins or progress is reported.
        telemetry: counts and traces attempts.
    """

    def __init__(
        self, lines: TaskLines, on_change: Callable[[], None] = lambda: None, telemetry: Telemetry = OFF
    ) -> None:
        self._lines = lines
        self._telemetry = telemetry
        self._on_change = on_change
        self._told: dict[str, float] = {}  # execution id -> when its progress was last logged

    def begin(self, job: Job, groups: Iterable[Group], source: TaskSource | None = None) -> None:
        """Record the beginning of an attempt, and set the job's trace context.

        Args:
            groups: groups of metrics that its task records.
            source: of its task; None if nobody asks for it.
        """
        job.trace = self._telemetry.begin(
            Execution(
                task=job.attempt.task_def_name,
                workflow_instance_id=job.identity.workflow_instance_id,
                reference_task_name=job.identity.reference_task_name,
                task_id=job.identity.task_id,
                retry_count=job.identity.retry_count,
                execution_id=job.execution_id,
                workflow=getattr(job.attempt, "workflow_type", None),
                source=source,
                trace=trace_context_of(job.attempt.input_data),
                groups=frozenset(groups),
            )
        )

    def phase(self, job: Job, event: PhaseEvent) -> None:
        """Record an event of a phase."""
        fact = event.fact
        self._telemetry.phase(job.execution_id, fact)
        job.stopwatch.note(fact.phase, fact.kind, fact.seconds, fact.attributes)
        if fact.kind == "started":
            job.phase = fact.phase
            self._on_change()
        elif fact.kind == "progress":
            if fact.phase == Phase.BODY:
                self._take_progress(job, fact.attributes)
            elif (caution := warning_for(fact.phase, fact.attributes)) is not None:
                self._lines.add(job.attempt, f"WARNING {caution}")
                self.tell(logging.WARNING, caution, job, ref=fact.attributes.get("ref"))
        else:
            self._end_phase(job, fact, event.traceback)

    def log(self, job: Job | None, message: Log) -> None:
        """Record a line that a body, or other code in an executor, has logged."""
        fields = {} if job is None else job.fields()
        fields |= _fields_of_body(message.fields)
        text = mask_text(message.text)
        level = max(message.level, logging.INFO) if message.is_printed else message.level  # as of what a body prints
        write(level, text, fields, logger=message.logger or "root", created=message.created)
        if job is not None:
            self._lines.add(job.attempt, f"{logging.getLevelName(message.level)} {text}")

    def metric(self, job: Job, message: Metric) -> None:
        """Record a metric value of a body."""
        value = TaskValue(instrument=message.instrument, name=message.name, value=message.value, labels=message.labels)
        self._telemetry.value(job.execution_id, value)
        fields = {"metric": message.name, "value": message.value, "labels": message.labels}
        write(logging.DEBUG, f"{message.instrument} {message.name}", {**job.fields(), **fields})

    def tell(self, level: int, text: str, job: Job | None = None, **fields: Any) -> None:
        """Write a line of the worker itself."""
        if LOGGER.isEnabledFor(level):
            write(level, text, {**({} if job is None else job.fields()), **fields})

    def report(self, event: Event) -> None:
        """Record an event of the report phase. An event without an execution belongs to a later round."""
        if event.execution_id:
            self._telemetry.phase(event.execution_id, PhaseFact.of(event))
        elif event.kind == "started":
            self._telemetry.count(REPORT_RETRIES)
        if event.kind == "failed":
            self.tell(logging.DEBUG, f"{event.phase} failed: {event.error}", execution=event.execution_id)

    def end(self, job: Job, outcome: Outcome, reason: str | None = None) -> None:
        """Record the end of a job."""
        self._telemetry.end(job.execution_id, outcome, reason)
        self._told.pop(job.execution_id, None)

    def executor_died(self) -> None:
        """Count an executor that died or could not be started."""
        self._telemetry.count(EXECUTOR_DEATHS)

    def _end_phase(self, job: Job, fact: PhaseFact, traceback: str) -> None:
        if fact.phase == Phase.BODY and job.progress.get("untold"):
            self._tell_progress(job)
        if traceback:
            frames = mask_text(traceback.rstrip())
            self._lines.add(job.attempt, frames)
            self.tell(logging.WARNING, f"the body failed: {fact.failure}", job, traceback=frames)
        failed = fact.kind == "failed"
        is_cleaning = PHASES[Phase(fact.phase)].is_best_effort
        level = logging.WARNING if failed and is_cleaning else logging.DEBUG
        if not LOGGER.isEnabledFor(level):
            return
        fields = {**fact.attributes, "seconds": round(fact.seconds, 6)}
        if fact.failure is not None:
            fields["error"] = fact.failure
        write(level, f"{fact.phase} {fact.kind}", {**job.fields(), "phase": fact.phase, **fields})

    def _take_progress(self, job: Job, attributes: Mapping[str, Any]) -> None:
        job.progress = {name: attributes.get(name) for name in ("done", "total", "message")} | {"untold": True}
        self._on_change()
        if time.monotonic() - self._told.get(job.execution_id, float("-inf")) >= PROGRESS_SECONDS:
            self._tell_progress(job)

    def _tell_progress(self, job: Job) -> None:
        self._told[job.execution_id] = time.monotonic()
        job.progress["untold"] = False
        text = progress_text(job.progress)
        self._lines.add(job.attempt, f"progress {mask_text(text)}")
        write(logging.INFO, f"progress {text}", job.fields())


def _fields_of_body(given: Mapping[str, Any]) -> dict[str, Any]:
    """The `extra` fields of a body's line, as `event` and `fields`, so that none can overwrite a field of the worker.

    Args:
        given: the record's `extra`. A `TaskContext.logger` sets `event` and `fields`.
    """
    named = {name: value for name, value in given.items() if name not in ("event", "fields", "attempt")}
    inner = given.get("fields")
    named |= inner if isinstance(inner, Mapping) else {}
    found = {"event": given["event"]} if "event" in given else {}
    return {**found, "fields": named} if named else found


def progress_text(progress: dict[str, Any]) -> str:
    """Progress in words: "40 of 100 (40 %): rows"."""
    done, total, message = progress.get("done"), progress.get("total"), progress.get("message")
    share = f" ({100 * done / total:.0f} %)" if isinstance(done, int | float) and total else ""
    text = f"{done:g}" if isinstance(done, int | float) else "?"
    text += f" of {total:g}{share}" if isinstance(total, int | float) else ""
    return f"{text}: {message}" if message else text


def write(
    level: int, text: str, fields: dict[str, Any], *, logger: str = LOGGER.name, created: float | None = None
) -> None:
    """Write a line to the worker's log."""
    if not LOGGER.isEnabledFor(level):
        return
    record = LOGGER.makeRecord(logger, level, "", 0, text, (), None, extra={FIELDS_ATTRIBUTE: fields})
    if created is not None:
        record.created = created
    LOGGER.handle(record)
