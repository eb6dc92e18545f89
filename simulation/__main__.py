"""Run simulations from the command line: `python -m simulation --help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from simulation.plan import CELLS, Plan, make_plan
from simulation.run import (
    Figures,
    Simulated,
    keep_to_core,
    keep_to_next_core,
    scratch,
    simulate,
    simulate_all,
)
from simulation.shrink import shrink

MODULE = "simulation"
CHUNK = 100
"""Seeds in one unit of work of a process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 no promise was broken; 1 one was, or the run is void; 2 wrong usage."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _show(asked.seed, asked.without, shrunk=asked.shrink)
    figures = _simulate(_seeds(asked.seeds), asked.jobs, asked.core)
    print(json.dumps(describe(figures)))
    _tell(figures)
    return 1 if figures.failed or figures.scarce else 0


def describe(figures: Figures) -> dict[str, object]:
    """The figures as JSON."""
    return {
        "schedules": figures.simulated,
        "failed": sorted(figures.failed),
        "void": figures.scarce,
        "fired": {f"{kind} at {point}": figures.fired[kind, point] for kind, point in CELLS},
        "least_fired": min(figures.fired[cell] for cell in CELLS),
        "steps": figures.steps,
        "virtual_hours": round(figures.virtual_seconds / 3600, 1),
        "seconds": round(figures.seconds, 1),
        "counts": dict(sorted(figures.counts.items())),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {MODULE}", description="Simulate Perago: each seed is a schedule."
    )
    parser.add_argument("seeds", nargs="?", default="1000", help="number of seeds, or FROM:TO (TO excluded)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="number of processes, one per core")
    parser.add_argument("--core", type=int, help="with --jobs 1: number of the core to use")
    parser.add_argument("--seed", type=int, help="show this seed step by step")
    parser.add_argument("--without", default="", help="with --seed: incidents to leave out, such as 0,3")
    parser.add_argument("--shrink", action="store_true", help="with --seed: leave out needless incidents")
    return parser


def _seeds(text: str) -> range:
    first, colon, last = text.partition(":")
    return range(int(first), int(last)) if colon else range(int(first))


def _simulate(seeds: range, jobs: int, core: int | None) -> Figures:
    figures, began = Figures(), time.monotonic()
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if jobs == 1:
        if core is not None:
            keep_to_core(core)
        figures.merge(simulate_all(seeds))
    else:
        context = get_context("spawn")
        numbers = context.SimpleQueue()
        for number in range(jobs):
            numbers.put(number)
        with ProcessPoolExecutor(jobs, context, keep_to_next_core, (numbers,)) as pool:
            for part in pool.map(simulate_all, chunks):
                figures.merge(part)
    figures.seconds = time.monotonic() - began
    return figures


def _tell(figures: Figures) -> None:
    """Print the result, and the command that shows a failed schedule."""
    rarest = min(CELLS, key=lambda cell: figures.fired[cell])
    print(
        f"{figures.simulated} schedules in {figures.seconds:.0f} s, {len(figures.failed)} failed; "
        f"{sum(figures.fired.values())} incidents of {len(CELLS)} kinds, "
        f"the rarest ({' at '.join(rarest)}) {figures.fired[rarest]} times",
        file=sys.stderr,
    )
    for seed, broken in sorted(figures.failed.items()):
        print(f"seed {seed}: {broken[0]}\n    {sys.executable} -m {MODULE} --seed {seed}", file=sys.stderr)
    for cell in figures.scarce:
        print(f"void: too rare: {cell}", file=sys.stderr)


def _show(seed: int, without: str, *, shrunk: bool) -> int:
    plan = make_plan(seed).without({int(number) for number in without.split(",") if number})
    with scratch() as directory:
        if shrunk:
            plan = shrink(plan, lambda smaller: bool(_run(smaller, directory).broken))
        one = _run(plan, directory)
    print(_plan_text(plan))
    for step in one.trace:
        print(step)
    for broken in one.broken:
        print(f"BROKEN: {broken}")
    return 1 if one.broken else 0


def _run(plan: Plan, directory: Path) -> Simulated:
    return simulate(plan, directory / "one")


def _plan_text(plan: Plan) -> str:
    lines = [f"seed {plan.seed}: workers with {', '.join(map(str, plan.slots))} slots"]
    lines += [f"    workflow {number}: {workflow}" for number, workflow in enumerate(plan.workflows, 1)]
    lines += [f"    incident {number}: {incident}" for number, incident in enumerate(plan.incidents)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
