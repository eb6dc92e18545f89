"""What `perago run` tells of its tries, besides what it shows: metrics and a trace, where the settings ask for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from perago.engines.local import LocalRun
from perago.models import AttemptIdentity, RuntimeTaskResult
from perago.ports import Event, Observer
from perago.tasks.declare import TaskDefinition
from perago.tasks.metrics import Instrument, MetricRecorder
from perago.telemetry.facts import Execution, Outcome, PhaseFact, TaskValue
from perago.telemetry.sink import OFF, Telemetry
from perago.trace_context import TraceContext, trace_context_of
from perago.worker.executor.runner import metric_groups


class ObservedTry:
    """One try of a run. An observer: passes events on to another one, which may raise.

    Attributes:
        trace: its place in its trace; None: it has none.
        metrics: takes the values that its body records; None: nobody wants them.
    """

    def __init__(self, telemetry: Telemetry, task: TaskDefinition, run: LocalRun, observer: Observer) -> None:
        identity = AttemptIdentity.of(run.attempt)
        self.execution_id = uuid.uuid4().hex
        self.trace: TraceContext | None = telemetry.begin(
            Execution(
                task=task.name,
                workflow_instance_id=identity.workflow_instance_id,
                reference_task_name=identity.reference_task_name,
                task_id=identity.task_id,
                retry_count=identity.retry_count,
                execution_id=self.execution_id,
                trace=_trace_of_environment(os.environ),
                groups=frozenset(metric_groups(task)),
            )
        )
        self.metrics = None if telemetry is OFF else _Values(telemetry, self.execution_id)
        self._telemetry = telemetry
        self._observer = observer
        self._outcome = (Outcome.FAILED, "it was interrupted")

    def __call__(self, event: Event, /) -> None:
        self._telemetry.phase(self.execution_id, PhaseFact.of(event))
        self._observer(event)

    def settle(self, result: RuntimeTaskResult, *, cancelled: bool) -> None:
        """What the try came to."""
        outcome = Outcome.CANCELLED if cancelled else Outcome(result.status.lower())
        self._outcome = (outcome, result.reason_for_incompletion or "")

    def end(self) -> None:
        self._telemetry.end(self.execution_id, *self._outcome)


@contextmanager
def observed_try(
    telemetry: Telemetry, task: TaskDefinition, run: LocalRun, observer: Observer
) -> Iterator[ObservedTry]:
    """Tell of one try, from its beginning to its end, however that comes."""
    told = ObservedTry(telemetry, task, run, observer)
    try:
        yield told
    finally:
        told.end()


class _Values(MetricRecorder):
    def __init__(self, telemetry: Telemetry, execution_id: str) -> None:
        self._telemetry = telemetry
        self._execution_id = execution_id

    def deliver(self, instrument: Instrument, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._telemetry.value(
            self._execution_id, TaskValue(instrument=instrument, name=name, value=value, labels=labels)
        )


def _trace_of_environment(environment: Mapping[str, str]) -> TraceContext | None:
    """The trace of whoever started this program."""
    found = {name: environment.get(name.upper()) for name in ("traceparent", "tracestate")}
    return trace_context_of(found)
