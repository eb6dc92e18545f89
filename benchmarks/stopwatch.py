"""Measures the phases of an attempt."""

from __future__ import annotations

from perago.ports import Event


class Stopwatch:
    """Observer that adds up the duration of each phase."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    def __call__(self, event: Event, /) -> None:
        if event.kind == "completed":
            self.phases[event.phase.value] = self.phases.get(event.phase.value, 0.0) + event.seconds
        assert event.kind != "failed", event.error
