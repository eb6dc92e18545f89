"""Facts about an attempt for a telemetry sink, from a worker's supervisor or `perago run`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from perago.ports import Event, EventKind
from perago.telemetry.instruments import Group
from perago.values.code import TaskSource
from perago.values.redaction import text_of
from perago.values.trace_context import TraceContext

ALL_GROUPS: frozenset[Group] = frozenset({"attempts", "workspace_io", "worker_capacity"})


class Outcome(enum.StrEnum):
    """How an attempt, or a workflow run, ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    FAILED_WITH_TERMINAL_ERROR = "failed_with_terminal_error"
    CANCELLED = "cancelled"  # the execution was no longer the engine's current one
    GIVEN_BACK = "given_back"  # the worker shut down


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The execution that facts belong to.

    Attributes:
        workflow: name of the workflow's definition; None if the task runs alone, or that is not known.
        is_whole: the instance is of the outermost workflow.
        source: of the task's code; None if nobody asks for it.
        trace: of the attempt; None if there is none.
        groups: metric groups that are recorded for its task.
    """

    task: str
    workflow_instance_id: str
    reference_task_name: str | None
    task_id: str
    retry_count: int
    execution_id: str
    workflow: str | None = None
    is_whole: bool = False
    source: TaskSource | None = None
    trace: TraceContext | None = None
    groups: frozenset[Group] = ALL_GROUPS


@dataclass(frozen=True, kw_only=True)
class WorkflowFact:
    """A workflow run of this process has begun, or ended.

    Attributes:
        workflow: name of its definition.
        outcome: None: it has begun, or goes on.
        reason: why it has not completed.
    """

    workflow: str
    run_id: str
    outcome: Outcome | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class PhaseFact:
    """An observer's event, without object references, which can be sent to another process.

    Attributes:
        seconds: duration of the phase so far.
        error_type: class name of the error; error: its text, masked.
    """

    phase: str
    kind: EventKind
    seconds: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    error_type: str | None = None
    error: str = ""

    @classmethod
    def of(cls, event: Event, attributes: Mapping[str, Any] | None = None) -> PhaseFact:
        """The fact that an event tells.

        Args:
            attributes: in place of the event's own.
        """
        failed = event.error is not None
        return cls(
            phase=event.phase.value,
            kind=event.kind,
            seconds=event.seconds,
            attributes=event.attributes if attributes is None else attributes,
            error_type=type(event.error).__name__ if failed else None,
            error=text_of(event.error) if event.error is not None else "",
        )

    @property
    def failure(self) -> str | None:
        """Class and text of the error in one line."""
        return None if self.error_type is None else f"{self.error_type}: {self.error}"


@dataclass(frozen=True, kw_only=True)
class TaskValue:
    """A value recorded by a task's body; see `tasks.metrics`."""

    instrument: Literal["gauge", "histogram"]
    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
