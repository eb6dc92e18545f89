"""The observer hook: emits the start, progress and end of each phase of an attempt. `ports.Phase` lists the phases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from perago.errors import HeadMovedError
from perago.ports import PHASES, Clock, Event, EventKind, Observer, Phase
from perago.values.redaction import mask_text


class Span:
    """A running phase."""

    def __init__(self, phases: Phases, phase: Phase, started: float) -> None:
        self.attributes: dict[str, Any] = {}
        self._phases = phases
        self._phase = phase
        self._started = started

    def note(self, **attributes: Any) -> None:
        """Add attributes to the phase's last event."""
        self.attributes.update(attributes)

    def progress(self, **attributes: Any) -> None:
        """Emit the phase's progress."""
        self._phases.emit(self._phase, "progress", self._started, attributes)

    def caution(self, attributes: Mapping[str, Any]) -> None:
        """Emit a warning of `attempt.parse`, unless it is empty."""
        if attributes:
            self.progress(**attributes)

    def report_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Emit the progress that a body reports by `TaskContext.progress`. Secrets in the message are masked."""
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
        """Run a phase: `started`, then `completed`, `failed` or `lost`. An error of the observer fails the phase."""
        started = self._clock.monotonic()
        span = Span(self, phase, started)
        span.note(**attributes)
        try:
            self.emit(phase, "started", started, span.attributes)
            yield span
        except BaseException as exc:
            is_lost = isinstance(exc, HeadMovedError) and PHASES[phase].may_lose_swap
            self.emit(phase, "lost" if is_lost else "failed", started, span.attributes, exc)
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
