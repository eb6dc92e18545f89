"""Decide whether a worker is live and ready, from facts that its loops and probes gather."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perago.values.redaction import text_of
from perago.worker.supervisor.polling import STALL_SECONDS

POLL_STALL_SECONDS = 2 * STALL_SECONDS
"""Twice the time after which a stuck poll loop is replaced: the replacement did not help."""

WATCH_STALL_SECONDS = 60.0
"""Limit on a turn of the watchdog; there is one each second."""

ENGINE_SECONDS = 60.0
"""Maximum age of the engine's last answer; there are several a minute."""

PROBE_SECONDS = 15.0
"""Pause between two rounds of probes."""

STALE_SECONDS = 90.0
"""Maximum age of a probe's result. An older result counts as unknown."""

_READY_STATES = frozenset({"idle", "busy"})


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        detail: the finding, in words.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Probed:
    """The last result of a probe.

    Attributes:
        age_seconds: age of the result; None: the probe has not finished yet.
    """

    ok: bool
    detail: str
    age_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class HealthFacts:
    """Facts about a worker.

    Attributes:
        poll_seconds, watch_seconds: age of the current turn of polling and of the watchdog; 0 between two turns.
        answered_seconds: since the engine answered a poll; None: it never has.
        slots: the state of each slot.
        probes: results by name. The probe "tasks" asks the engine.
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
        live: checks whose failure a restart can fix.
        ready: checks that the worker must pass to take tasks.
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
    """Judge the facts."""
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
    """While all slots are busy there is no poll: then the probe of the tasks counts."""
    ages = [] if facts.answered_seconds is None else [facts.answered_seconds]
    tasks = facts.probes.get("tasks")
    if tasks is not None and tasks.ok and tasks.age_seconds is not None:
        ages.append(tasks.age_seconds)
    if not ages:
        return Check("engine", ok=False, detail="the server has not answered yet")
    return Check("engine", min(ages) <= ENGINE_SECONDS, f"answered {min(ages):.0f} s ago")


def _probed(name: str, found: Probed) -> Check:
    if found.age_seconds is None:
        return Check(name, ok=False, detail="not known yet")
    if found.age_seconds > STALE_SECONDS:
        return Check(name, ok=False, detail=f"not known for {found.age_seconds:.0f} s; before that: {found.detail}")
    return Check(name, found.ok, found.detail)


Probe = Callable[[], str]
"""Checks a condition once, within seconds; returns the finding in words. An error that it raises says what is wrong."""

MAX_DETAIL_LENGTH = 500


class Probes:
    """Runs all probes, one round each `PROBE_SECONDS`; see `supervisor.Loop`.

    Args:
        looks: the probes by name.
    """

    def __init__(self, looks: Mapping[str, Probe]) -> None:
        self._looks = looks
        self._found: dict[str, tuple[bool, str, float]] = {}

    def turn(self) -> float | None:
        """Run every probe once; returns the seconds until the next round. None: there are no probes."""
        for name, look in self._looks.items():
            self._found[name] = (*self._outcome(look), time.monotonic())
        return PROBE_SECONDS if self._looks else None

    def found(self) -> dict[str, Probed]:
        """Results of the last round."""
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
        except Exception as exc:  # noqa: BLE001 - any error is the probe's result
            return False, (text_of(exc) or type(exc).__name__)[:MAX_DETAIL_LENGTH]
