from __future__ import annotations

import pytest

from perago.worker.supervisor.health import (
    ENGINE_SECONDS,
    POLL_STALL_SECONDS,
    STALE_SECONDS,
    WATCH_STALL_SECONDS,
    HealthFacts,
    Probed,
    Probes,
    health_of,
)

WELL = {
    "answered_seconds": 1.0,
    "slots": ["idle", "starting"],
    "probes": {"tasks": Probed(True, "2 registered", 3.0), "store": Probed(True, "answers", 3.0)},
}


def unmet(**facts):
    health = health_of(HealthFacts(**{**WELL, **facts}))
    return health.is_live, [check.name for check in health.all if not check.ok]


def test_a_worker_that_is_well():
    assert unmet() == (True, [])
    assert health_of(HealthFacts(**WELL)).is_ready


@pytest.mark.parametrize(
    ("facts", "live", "names"),
    [
        ({"draining": True}, True, ["draining"]),
        ({"poll_seconds": POLL_STALL_SECONDS + 1}, False, ["polling"]),
        ({"watch_seconds": WATCH_STALL_SECONDS + 1}, False, ["supervision"]),
        ({"slots": ["starting", "waiting"]}, True, ["executors"]),
        ({"probes": {}, "answered_seconds": None}, True, ["engine"]),
        ({"probes": {}, "answered_seconds": ENGINE_SECONDS + 1}, True, ["engine"]),
        ({"probes": {"tasks": Probed(False, "not registered: x", 1.0)}}, True, ["tasks"]),
        ({"probes": {"store": Probed(False, "")}}, True, ["store"]),
        ({"probes": {"store": Probed(True, "answers", STALE_SECONDS + 1)}}, True, ["store"]),
    ],
)
def test_each_check_has_its_fact(facts, live, names):
    assert unmet(**facts) == (live, names)


def test_while_all_slots_are_busy_the_probe_of_the_tasks_tells_of_the_engine():
    assert unmet(slots=["busy"], answered_seconds=3600.0) == (True, [])


def test_probes_tell_what_is_wrong_without_secrets():
    def refuse():
        raise OSError("http://me:hunter2@host refused")

    probes = Probes({"store": refuse, "tasks": lambda: "there"})
    assert probes.found()["store"].age_seconds is None
    probes.turn()
    found = probes.found()
    assert (found["tasks"].ok, found["tasks"].detail) == (True, "there")
    assert not found["store"].ok
    assert "refused" in found["store"].detail
    assert "hunter2" not in found["store"].detail
    assert Probes({}).turn() is None
