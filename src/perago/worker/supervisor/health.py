"""Whether a worker is live and ready, decided from facts that its loops and probes gather."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perago.values.redaction import text_of
from perago.worker.supervisor.polling import STALL_SECONDS

POLL_STALL_SECONDS = 2 * STALL_SECONDS
"""Twice the time after which another poll loop takes a stuck one's place, where none is stuck already: that did not
help."""

WATCH_STALL_SECONDS = 60.0
"""A look of the supervision, one each second."""

ENGINE_SECONDS = 60.0
"""Age that the engine's last answer may have; there are several a minute."""

PROBE_SECONDS = 15.0
"""Between two rounds of probes."""

STALE_SECONDS = 90.0
"""Age that what a probe found may have; what is older is not known any more."""

_READY_STATES = frozenset({"idle", "busy"})


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        detail: what was found, for people.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Probed:
    """What a probe found last.

    Attributes:
        age_seconds: of what it found; None: it has not come to an end yet.
    """

    ok: bool
    detail: str
    age_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class HealthFacts:
    """What is known of a worker.

    Attributes:
        poll_seconds, watch_seconds: how long the turn takes that polling and supervision are in; 0: none is.
        answered_seconds: since the engine answered a poll; None: it has not.
        slots: the state of each.
        probes: by name; one named "tasks" asks the engine.
    """

    draining: bool = False
    poll_seconds: float = 0.0
    watch_seconds: float = 0.0
    answered_seconds: float | None = None
    slots: Sequence[str] = ()
    probes: Mapping[str, Probed] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """A worker's health.

    Attributes:
        live: checks whose failure a restart would mend.
        ready: checks that have to be met for it to take tasks.
    """

    live: tuple[Check, ...]
    ready: tuple[Check, ...]

    @property
    def is_live(self) -> bool:
        return all(check.ok for check in self.live)

    @property
    def is_ready(self) -> bool:
        return self.is_live and all(check.ok for check in self.ready)

    @property
    def all(self) -> tuple[Check, ...]:
        return (*self.live, *self.ready)


def checks_object(checks: Sequence[Check]) -> dict[str, Any]:
    """Checks by name, each with `ok` and `detail`, for JSON."""
    return {check.name: {"ok": check.ok, "detail": check.detail} for check in checks}


def health_of(facts: HealthFacts) -> Health:
    """What the facts come to."""
    live = (
        _within("polling", facts.poll_seconds, POLL_STALL_SECONDS),
        _within("supervision", facts.watch_seconds, WATCH_STALL_SECONDS),
    )
    draining = Check("draining", not facts.draining, "it takes no new tasks" if facts.draining else "no")
    probes = tuple(_probed(name, found) for name, found in facts.probes.items())
    return Health(live, (draining, _executors(facts.slots), _engine(facts), *probes))


def _within(name: str, seconds: float, most: float) -> Check:
    detail = "goes round" if seconds <= 1 else f"a turn has taken {seconds:.0f} s"
    return Check(name, seconds <= most, detail)


def _executors(slots: Sequence[str]) -> Check:
    up = sum(state in _READY_STATES for state in slots)
    return Check("executors", up > 0, f"{up} of {len(slots)} are up")


def _engine(facts: HealthFacts) -> Check:
    """While all slots are busy nothing is polled: then the probe of the tasks tells."""
    ages = [] if facts.answered_seconds is None else [facts.answered_seconds]
    tasks = facts.probes.get("tasks")
    if tasks is not None and tasks.ok and tasks.age_seconds is not None:
        ages.append(tasks.age_seconds)
    if not ages:
        return Check("engine", ok=False, detail="no poll was answered yet")
    return Check("engine", min(ages) <= ENGINE_SECONDS, f"answered {min(ages):.0f} s ago")


def _probed(name: str, found: Probed) -> Check:
    if found.age_seconds is None:
        return Check(name, ok=False, detail="not known yet")
    if found.age_seconds > STALE_SECONDS:
        return Check(name, ok=False, detail=f"not known for {found.age_seconds:.0f} s; before that: {found.detail}")
    return Check(name, found.ok, found.detail)


Probe = Callable[[], str]
"""Looks once, within seconds; says what it found. What it raises says what is wrong."""

MAX_DETAIL_LENGTH = 500


class Probes:
    """One round each `PROBE_SECONDS`; see `supervisor.Loop`.

    Args:
        looks: by name.
    """

    def __init__(self, looks: Mapping[str, Probe]) -> None:
        self._looks = looks
        self._found: dict[str, tuple[bool, str, float]] = {}

    def turn(self) -> float | None:
        """Probe at everything once; returns the seconds until the next round. None: there is nothing to look at."""
        for name, look in self._looks.items():
            self._found[name] = (*self._outcome(look), time.monotonic())
        return PROBE_SECONDS if self._looks else None

    def found(self) -> dict[str, Probed]:
        """What the last round found."""
        now = time.monotonic()
        return {
            name: Probed(found[0], found[1], now - found[2])
            if (found := self._found.get(name)) is not None
            else Probed(ok=False, detail="")
            for name in self._looks
        }

    @staticmethod
    def _outcome(look: Probe) -> tuple[bool, str]:
        try:
            return True, look()
        except Exception as exc:  # noqa: BLE001 - whatever is wrong is what the probe is to find
            return False, (text_of(exc) or type(exc).__name__)[:MAX_DETAIL_LENGTH]
