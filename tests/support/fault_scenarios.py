"""What the sweeps go through: the runs, and the faults that meet their calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fault_stores import Repository
from fault_world import UNCHANGED, Scenario, World, nothing, write
from perago import WorkspaceSpec
from simulation.faults import Fault, Faults, crash, delayed, error, late, lost, sweep, twice

SNAPSHOT = WorkspaceSpec(isolation="snapshot")
BESIDE = WorkspaceSpec(exclude=["person.*"])


def lost_worker(world: World) -> None:
    """A worker publishes, and dies before it reports."""
    world.run_try(report=False)
    world.time_out()


def lost_worker_with_other_params(world: World) -> None:
    """As before, but what it published is no longer wanted."""
    world.run_try(report=False, text="other params")
    world.time_out()


def person_commits_elsewhere(world: World) -> None:
    world.person(person_txt="theirs")


def person_commits_here(world: World) -> None:
    world.person(out_txt="theirs")


def person_after_lost_worker(world: World) -> None:
    lost_worker_with_other_params(world)
    world.person(person_txt="theirs")


def lost_noop(world: World) -> None:
    """A worker finds nothing to change, and dies before it reports."""
    world.run_try(report=False)
    world.time_out()


SCENARIOS = {
    "first try": Scenario(),
    "retry that adopts": Scenario(before=lost_worker),
    "retry that replaces": Scenario(before=lost_worker_with_other_params),
    "no-op": Scenario(body=nothing, content=UNCHANGED),
    "retried no-op": Scenario(body=nothing, content=UNCHANGED, before=lost_noop),
    "read-only": Scenario(body=write, spec=WorkspaceSpec(read_only=True), content=UNCHANGED),
    "foreign commit": Scenario(before=person_commits_elsewhere, content=None),
    "elsewhere, and replaces": Scenario(spec=BESIDE, before=person_after_lost_worker),
    "snapshot": Scenario(spec=SNAPSHOT, before=person_commits_elsewhere),
    "snapshot, and replaces": Scenario(spec=SNAPSHOT, before=person_after_lost_worker),
    "snapshot, and conflicts": Scenario(spec=SNAPSHOT, before=person_commits_here, content=None, conflict="out.txt"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        make: the fault for a world.
        observed: it meets the observer's calls too, not the ports' alone.
        leaves: a janitor may find work afterwards that the attempt itself could not do.
    """

    make: Callable[[World], Fault]
    observed: bool = True
    leaves: bool = False


KINDS = {
    "error": Kind(lambda _: error, leaves=True),
    "lost": Kind(lambda _: lost, observed=False, leaves=True),
    "twice": Kind(lambda _: twice, observed=False),
    "crash": Kind(lambda _: crash, leaves=True),
    "late, time passes": Kind(lambda world: delayed(world.clock, 900), observed=False),
    "late, timed out": Kind(lambda world: late(world.time_out)),
    "late, another worker does it": Kind(lambda world: late(world.another_worker), observed=False),
    "late, requeued": Kind(lambda world: late(world.requeued), observed=False),
    "late, terminated": Kind(lambda world: late(world.terminated), observed=False),
    "late, restarted": Kind(lambda world: late(world.restarted), observed=False),
    "late, rerun": Kind(lambda world: late(world.rerun), observed=False),
    "late, a person commits": Kind(lambda world: late(lambda: world.person(late_txt="theirs")), observed=False),
}


def run_with(world: World, kind: Kind, faults: Faults) -> list[str]:
    """A run whose next try meets the faults; then they stop. Returns the promises that it broke."""
    world.scenario.before(world)
    world.run_try(faults, observed=kind.observed)
    world.settle()
    if kind.leaves:
        world.sweep()
    return world.broken_promises()


@dataclass
class Swept:
    """Result of a sweep.

    Attributes:
        met: calls that met the fault.
        there: calls of the try when none does.
        broken: promises, by the call that met the fault.
    """

    met: int = 0
    there: int = 0
    broken: dict[str, list[str]] = field(default_factory=dict)


def sweep_scenario(
    directory: Path,
    repository: type[Repository],
    scenario: Scenario,
    kind: Kind,
    plant: Callable[[World], object] = lambda _: None,
) -> Swept:
    """One run for each call of the scenario's try, with the fault there; the last one's meets none."""
    swept = Swept()

    def run(number: int) -> Faults:
        world = World(directory / str(number), repository, scenario)
        plant(world)
        faults = Faults({number: kind.make(world)})
        found = run_with(world, kind, faults)
        if found:
            where = faults.points[number - 1] if faults.fired else "no call"
            swept.broken[f"{number}: {where}"] = found
        swept.there = len(faults.points)
        world.remove()
        return faults

    swept.met = sweep(run)
    return swept
