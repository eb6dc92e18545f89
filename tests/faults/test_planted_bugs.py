"""The sweep catches what it is there for: bugs that were put in on purpose."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest

from fault_scenarios import KINDS, SCENARIOS, sweep_scenario
from fault_stores import MemoryRepository
from fault_world import World
from perago.values.history import Publish
from simulation.faults import InjectedError, TappedStore


def caught(directory, scenario, kind, plant):
    """The broken promises, one text."""
    broken = sweep_scenario(directory, MemoryRepository, SCENARIOS[scenario], KINDS[kind], plant).broken
    return "\n".join(f"{where}: {promise}" for where, promises in broken.items() for promise in promises)


def tapped(store, **replaced):
    ports = {name: getattr(store, name) for name in TappedStore.__dataclass_fields__}
    return TappedStore(**ports | replaced)


def reset_instead_of_publish(world: World) -> None:
    def plant(store):
        def publish(staged, workspace_input, spec, execution):
            store.reset(workspace_input.branch, staged.commit)
            return staged.commit

        return tapped(store, publish_workspace=publish)

    world.plant_store = plant


@dataclass
class Trusting:
    """An engine for an attempt that looks once, and believes it from then on."""

    engine: object

    def __post_init__(self):
        self._first = None
        self.load_record, self.report_result = self.engine.load_record, self.engine.report_result

    def load_current_attempt(self, attempt):
        if self._first is None:
            self._first = self.engine.load_current_attempt(attempt)
        return self._first


def no_second_attempt_fence(world: World) -> None:
    world.plant_engine = Trusting


def blind_retry(world: World) -> None:
    """An unclear answer to a publication is answered by another publication, on whatever the head is then."""

    def plant(store):
        staged_from = []

        def stage(*arguments):
            staged_from[:] = arguments
            return store.stage_workspace(*arguments)

        def publish(staged, workspace_input, spec, execution):
            try:
                return store.publish_workspace(staged, workspace_input, spec, execution)
            except InjectedError:
                again = replace(execution, plan=Publish(world.repository.head()))
                staged = store.stage_workspace(staged_from[0], workspace_input, spec, again)
                return store.publish_workspace(staged, workspace_input, spec, again)

        return tapped(store, stage_workspace=stage, publish_workspace=publish)

    world.wrap_store = plant


def no_cleaning(world: World) -> None:
    world.plant_store = lambda store: tapped(store, cleanup_staging=lambda staged: None)


def half_of_it(world: World) -> None:
    """A file of those that changed is not staged."""

    def plant(store):
        def stage(workspace_dir, workspace_input, spec, execution):
            half = replace(execution, changes=replace(execution.changes, deleted=()))
            return store.stage_workspace(workspace_dir, workspace_input, spec, half)

        return tapped(store, stage_workspace=stage)

    world.plant_store = plant


@pytest.mark.parametrize(
    ("plant", "scenario", "kind", "expected"),
    [
        (reset_instead_of_publish, "first try", "late, a person commits", "publish_workspace: lost: "),
        (reset_instead_of_publish, "first try", "late, another worker does it", "publish_workspace: lost: "),
        (reset_instead_of_publish, "snapshot", "late, a person commits", "publish_workspace: lost: "),
        (
            no_second_attempt_fence,
            "first try",
            "late, timed out",
            "without having seen after staging that it was current",
        ),
        (blind_retry, "first try", "lost", "publish_workspace: execution .* published twice"),
        (no_cleaning, "first try", "late, timed out", "left behind: perago-"),
        (half_of_it, "first try", "late, timed out", "wrong content of old.txt"),
    ],
)
def test_a_planted_bug_is_caught(fast_path, plant, scenario, kind, expected):
    found = caught(fast_path, scenario, kind, plant)
    assert re.search(expected, found), found


def test_without_a_planted_bug_nothing_is_caught(fast_path):
    assert caught(fast_path, "first try", "late, a person commits", lambda world: None) == ""
