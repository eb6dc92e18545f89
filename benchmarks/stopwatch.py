"""How long the phases of an attempt took."""

from __future__ import annotations

from perago.ports import Event


class Stopwatch:
    """An observer that adds up how long each phase took."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}

    def __call__(self, event: Event, /) -> None:
        if event.kind == "completed":
            self.phases[event.phase.value] = self.phases.get(event.phase.value, 0.0) + event.seconds
        assert event.kind != "failed", event.error
