"""The sweep catches what it is there for: bugs that were put in on purpose."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from fault_scenarios import KINDS, SCENARIOS, sweep_scenario
from fault_stores import MemoryRepository
from fault_world import World
from planted_stores import Trusting, resetting, retrying_blindly, tapped


def caught(directory, scenario, kind, plant):
    """The broken promises, one text."""
    broken = sweep_scenario(directory, MemoryRepository, SCENARIOS[scenario], KINDS[kind], plant).broken
    return "\n".join(f"{where}: {promise}" for where, promises in broken.items() for promise in promises)


def reset_instead_of_publish(world: World) -> None:
    world.plant_store = resetting


def no_second_attempt_fence(world: World) -> None:
    world.plant_engine = Trusting


def blind_retry(world: World) -> None:
    world.wrap_store = retrying_blindly(lambda _branch: world.repository.head())


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
