"""Makes a failing plan smaller by leaving out incidents that its failure does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simulation.plan import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """The smallest failing plan found by leaving out one part after the other.

    Args:
        fails: runs a plan; deterministic.
    """
    found = True
    while found:
        found = False
        for smaller in _smaller(plan):
            if fails(smaller):
                plan, found = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for number in range(len(plan.incidents)):
        yield plan.without({number})
    for number in reversed(range(len(plan.workflows))):
        if len(plan.workflows) > 1:
            yield replace(plan, workflows=plan.workflows[:number] + plan.workflows[number + 1 :])
    if len(plan.slots) > 1:
        yield replace(plan, slots=plan.slots[:-1])
    if any(slots > 1 for slots in plan.slots):
        yield replace(plan, slots=(1,) * len(plan.slots))
