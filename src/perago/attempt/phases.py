"""The one observer hook: each phase of an attempt is announced, and its end, and what it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from perago.ports import Clock, Event, EventKind, Observer, Phase
from perago.values.redaction import mask_text


class Span:
    """A phase under way."""

    def __init__(self, phases: Phases, phase: Phase, started: float) -> None:
        self.attributes: dict[str, Any] = {}
        self._phases = phases
        self._phase = phase
        self._started = started

    def note(self, **attributes: Any) -> None:
        """Add what became known; it comes with the phase's last event."""
        self.attributes.update(attributes)

    def progress(self, **attributes: Any) -> None:
        """Tell how far the phase is."""
        self._phases.emit(self._phase, "progress", self._started, attributes)

    def caution(self, attributes: Mapping[str, Any]) -> None:
        """Tell of what `attempt.parse` has found, if it has found anything."""
        if attributes:
            self.progress(**attributes)

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        """What a body's `TaskContext.progress` calls; secrets in its message are masked for every observer."""
        self.progress(done=done, total=total, message=None if message is None else mask_text(message))


class Phases:
    """Emits the events of one execution to its observer."""

    def __init__(self, observer: Observer, clock: Clock, *, execution_id: str, task_id: str) -> None:
        self._observer = observer
        self._clock = clock
        self._execution_id = execution_id
        self._task_id = task_id

    @contextmanager
    def __call__(self, phase: Phase, **attributes: Any) -> Iterator[Span]:
        """Run a phase: `started`, then `completed` or `failed`. What the observer raises fails the phase."""
        started = self._clock.monotonic()
        span = Span(self, phase, started)
        span.note(**attributes)
        try:
            self.emit(phase, "started", started, span.attributes)
            yield span
        except BaseException as exc:
            self.emit(phase, "failed", started, span.attributes, exc)
            raise
        self.emit(phase, "completed", started, span.attributes)

    def emit(
        self,
        phase: Phase,
        kind: EventKind,
        started: float,
        attributes: dict[str, Any],
        error: BaseException | None = None,
    ) -> None:
        self._observer(
            Event(
                phase=phase,
                kind=kind,
                execution_id=self._execution_id,
                task_id=self._task_id,
                seconds=self._clock.monotonic() - started,
                attributes=dict(attributes),
                error=error,
            )
        )
