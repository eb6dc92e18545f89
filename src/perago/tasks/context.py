"""A body's view of its attempt: identity, logger, progress and cancellation."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol

from perago.errors import TaskCancelledError
from perago.values.models import AttemptIdentity
from perago.values.redaction import mask_json, mask_text
from perago.values.trace_context import TraceContext

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

LOGGER_ROOT = "perago.task"
"""Parent of the standard library's loggers for bodies: `perago.task.<task name>`."""


class ReportProgress(Protocol):
    """Receives a body's progress: the amount done, the total (None if unknown), and a message."""

    def __call__(self, done: float, total: float | None, message: str | None, /) -> None: ...


def _report_nothing(done: float, total: float | None, message: str | None, /) -> None:
    """Receiver that discards progress."""


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """The attempt as seen by its body. A body gets it through a parameter annotated `TaskContext`.

    Attributes:
        identity: the engine's identity of this execution.
        execution_id: Perago's id, new for each attempt.
        task_name: name of the task definition.
        is_cancelled: answers `cancelled`; safe to call from any thread of the body.
        on_progress: receives the calls of `progress`.
        trace: the attempt's trace context, or None.
    """

    identity: AttemptIdentity
    execution_id: str
    task_name: str
    is_cancelled: Callable[[], bool] = bool
    on_progress: ReportProgress = _report_nothing
    trace: TraceContext | None = None

    @classmethod
    def for_test(
        cls,
        task_name: str = "test",
        *,
        is_cancelled: Callable[[], bool] = bool,
        on_progress: ReportProgress = _report_nothing,
    ) -> TaskContext:
        """A context for tests: with a made-up identity, no receiver of progress, never cancelled."""
        identity = AttemptIdentity(
            workflow_instance_id="test-workflow", task_id="test-task", retry_count=0, reference_task_name=task_name
        )
        return cls(
            identity=identity,
            execution_id="test-execution",
            task_name=task_name,
            is_cancelled=is_cancelled,
            on_progress=on_progress,
        )

    def reporting_to(self, on_progress: ReportProgress) -> TaskContext:
        """The same context with another receiver of progress."""
        return replace(self, on_progress=on_progress)

    # -- identity

    @property
    def workflow_instance_id(self) -> str:
        """Id of the workflow instance; under `perago run`, of the run."""
        return self.identity.workflow_instance_id

    @property
    def reference_task_name(self) -> str | None:
        """Name of the task in its workflow; None if the engine does not provide it."""
        return self.identity.reference_task_name

    @property
    def task_id(self) -> str:
        """Id of this try."""
        return self.identity.task_id

    @property
    def retry_count(self) -> int:
        """0 on the first try."""
        return self.identity.retry_count

    @property
    def scheduled_time(self) -> int | None:
        """Milliseconds since the epoch; None if the engine does not provide it."""
        return self.identity.scheduled_time

    @property
    def poll_count(self) -> int | None:
        """Number of deliveries of this try; None if the engine does not provide it."""
        return self.identity.poll_count

    @property
    def seq(self) -> int | None:
        """Number of the task in its workflow; None if the engine does not provide it."""
        return self.identity.seq

    @property
    def iteration(self) -> int | None:
        """Iteration of the loop around the task; None if the engine does not provide it."""
        return self.identity.iteration

    @property
    def traceparent(self) -> str | None:
        """W3C `traceparent` of the attempt, for calls that the body makes; None without a trace."""
        return None if self.trace is None else self.trace.traceparent

    @property
    def tracestate(self) -> str | None:
        """W3C `tracestate` of the attempt, or None."""
        return None if self.trace is None else self.trace.tracestate or None

    # -- logging

    @cached_property
    def logger(self) -> BoundLogger:
        """A structlog logger, bound to the identity of the attempt: `context.logger.info("read", rows=3)`.

        It writes to the standard library's logger `perago.task.<task name>`, so it prints nothing unless logging is
        configured. A record's message is the event with its fields, `read rows=3`; its attributes `event`, `fields`
        (the author's) and `attempt` (the bound ones) hold the parts. Strings with secret-like names are masked.
        """
        import structlog

        root = logging.getLogger(LOGGER_ROOT)
        if not any(isinstance(handler, logging.NullHandler) for handler in root.handlers):
            root.addHandler(logging.NullHandler())  # otherwise logging's last resort would print warnings
        logger: BoundLogger = structlog.wrap_logger(
            logging.getLogger(f"{LOGGER_ROOT}.{self.task_name}"),
            processors=[structlog.stdlib.filter_by_level, structlog.stdlib.PositionalArgumentsFormatter(), _to_record],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind(_attempt=self._bound_fields())
        return logger

    def _bound_fields(self) -> dict[str, object]:
        return {
            "task": self.task_name,
            "workflow_instance_id": self.workflow_instance_id,
            "reference_task_name": self.reference_task_name,
            "task_id": self.task_id,
            "retry_count": self.retry_count,
            "execution_id": self.execution_id,
        }

    # -- progress

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Report the body's progress. The call is cheap at any rate.

        Args:
            done: amount done, in any unit. May exceed `total`, which is often an estimate.
            total: total amount; None if unknown.
            message: what is counted, or done now.

        Raises:
            ValueError: `done` or `total` is not a finite number, or negative.
        """
        self.on_progress(
            _amount("done", done),
            None if total is None else _amount("total", total),
            None if message is None else str(message),
        )

    # -- cancellation

    @property
    def cancelled(self) -> bool:
        """Whether the attempt is cancelled. A body that can stop early checks this from time to time."""
        return bool(self.is_cancelled())

    def raise_if_cancelled(self) -> None:
        """End the body if the attempt is cancelled.

        Raises:
            TaskCancelledError: it is. Let the error pass.
        """
        if self.cancelled:
            raise TaskCancelledError(f"task {self.task_name!r}: cancelled while its body ran")


def _amount(what: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise ValueError(f"progress: {what} must be a finite number of at least 0, not {value!r}")
    return int(value) if isinstance(value, Integral) else float(value)


def _to_record(
    _logger: logging.Logger, _method: str, fields: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """The last processor: turns structlog's event into arguments for the standard library's logger."""
    attempt = fields.pop("_attempt", {})
    event = mask_text(str(fields.pop("event", "")))
    passed_on = {name: fields.pop(name) for name in ("exc_info", "stack_info") if name in fields}
    masked: Mapping[str, Any] = mask_json(fields)
    text = " ".join([event, *(f"{name}={value!r}" for name, value in masked.items())])
    extra = {"event": event, "fields": dict(masked), "attempt": attempt}
    return (text,), {**passed_on, "stacklevel": _stacklevel(), "extra": extra}


def _stacklevel() -> int:
    """The stack level of the logging line: the number of structlog's frames, without this processor's caller."""
    count = 0
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith("structlog."):
            count += 1
        elif module != __name__:
            break
        frame = frame.f_back
    return count
