"""Converting an attempt's facts to measurements: plain values that any metrics library can record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perago import errors
from perago.ports import PHASES, Phase
from perago.telemetry import instruments
from perago.telemetry.facts import Execution, Outcome, PhaseFact
from perago.telemetry.instruments import Instrument

_DIRECTIONS = {phase.value: facts.transfer for phase, facts in PHASES.items() if facts.transfer is not None}
_PUBLISH_REFUSALS = frozenset({errors.PublishFenceError.__name__, errors.UnsettledFenceError.__name__})
_OTHER = "_OTHER"


@dataclass(frozen=True)
class Measurement:
    """One value for one instrument."""

    instrument: Instrument
    value: float
    attributes: Mapping[str, str] = field(default_factory=dict)


class AttemptMeasures:
    """The measurements of one attempt, in the order of its events."""

    def __init__(self, execution: Execution) -> None:
        self._task = {instruments.TASK: execution.task}
        self._groups = execution.groups
        self._progress: Mapping[str, Any] = {}
        self._how: str | None = None

    def begin(self) -> Iterator[Measurement]:
        """Initialize counters with 0. The rate of a series that starts with 1 would miss that 1."""
        zeros = (
            self._measured(instruments.FENCE_REFUSALS, 0, {instruments.FENCE: "attempt"}),
            self._measured(instruments.FENCE_REFUSALS, 0, {instruments.FENCE: "publish"}),
            self._measured(instruments.SWAP_LOSSES, 0),
            self._measured(instruments.LEASE_LOSSES, 0),
        )
        yield from self._kept(self._measured(instruments.ACTIVE, 1), *zeros)

    def take(self, fact: PhaseFact) -> Iterator[Measurement]:
        """The measurements of one event."""
        if fact.kind == "started":
            self._progress = {}
        elif fact.kind == "progress":
            self._progress = fact.attributes
        else:
            self._how = fact.attributes.get("how", self._how)
            yield from self._kept(self._duration(fact), *self._moved(fact), *self._refusals(fact), *self._reports(fact))

    def end(self, outcome: Outcome, seconds: float) -> Iterator[Measurement]:
        """The measurements of the whole attempt."""
        found = [
            self._measured(instruments.ATTEMPT_DURATION, seconds, {instruments.OUTCOME: outcome.value}),
            self._measured(instruments.ACTIVE, -1),
        ]
        if outcome is Outcome.COMPLETED and self._how is not None:
            found.append(self._measured(instruments.PUBLICATIONS, 1, {instruments.HOW: self._how}))
        if outcome is Outcome.CANCELLED:
            found.append(self._measured(instruments.LEASE_LOSSES, 1))
        yield from self._kept(*found)

    def _duration(self, fact: PhaseFact) -> Measurement:
        attributes = {instruments.PHASE: fact.phase, **_error_of(fact)}
        return self._measured(instruments.PHASE_DURATION, fact.seconds, attributes)

    def _moved(self, fact: PhaseFact) -> Iterator[Measurement]:
        """Duration, files and bytes of a transfer, from the store's last progress event."""
        direction = _DIRECTIONS.get(fact.phase)
        if direction is None:
            return
        attributes = {instruments.DIRECTION: direction, **_error_of(fact)}
        yield self._measured(instruments.WORKSPACE_DURATION, fact.seconds, attributes)
        progress, self._progress = self._progress, {}
        files, size = _count(progress, "files"), _count(progress, "bytes")
        if files or size:
            about = {instruments.DIRECTION: direction}
            yield self._measured(instruments.WORKSPACE_IO, size, about)
            yield self._measured(instruments.WORKSPACE_FILES, files, about)
        if "cache_hits" in progress:
            hits = _count(progress, "cache_hits")
            yield self._measured(instruments.CACHE_LOOKUPS, hits, {instruments.RESULT: "hit"})
            yield self._measured(instruments.CACHE_LOOKUPS, files - hits, {instruments.RESULT: "miss"})

    def _refusals(self, fact: PhaseFact) -> Iterator[Measurement]:
        if fact.error_type == errors.StaleAttemptError.__name__ and fact.phase == Phase.FENCE:
            yield self._measured(instruments.FENCE_REFUSALS, 1, {instruments.FENCE: "attempt"})
        elif fact.error_type in _PUBLISH_REFUSALS:
            yield self._measured(instruments.FENCE_REFUSALS, 1, {instruments.FENCE: "publish"})
        elif fact.kind == "lost":
            yield self._measured(instruments.SWAP_LOSSES, 1)

    def _reports(self, fact: PhaseFact) -> Iterator[Measurement]:
        repeated = _count(fact.attributes, "posts") - 1 if fact.phase == Phase.REPORT else 0
        if repeated > 0:
            yield Measurement(instruments.REPORT_RETRIES, repeated)

    def _measured(
        self, instrument: Instrument, value: float, attributes: Mapping[str, str] | None = None
    ) -> Measurement:
        return Measurement(instrument, value, {**self._task, **(attributes or {})})

    def _kept(self, *measurements: Measurement) -> Iterator[Measurement]:
        """The measurements that are recorded for the task."""
        for measurement in measurements:
            if measurement.instrument.group is None or measurement.instrument.group in self._groups:
                yield measurement


def error_type(name: str | None) -> str:
    """An error's class as a metric attribute: one of Perago's own or `_OTHER`, so that there are only a few values."""
    known = errors.error_class(name or "", errors.PeragoError)
    return _OTHER if known is None else known.__name__


def _error_of(fact: PhaseFact) -> dict[str, str]:
    return {instruments.ERROR_TYPE: error_type(fact.error_type)} if fact.kind == "failed" else {}


def _count(attributes: Mapping[str, Any], name: str) -> int:
    value = attributes.get(name, 0)
    return value if isinstance(value, int) else 0
