"""Workflows of tasks that do nothing. PERAGO_BENCH_STEPS is the number of tasks."""

from __future__ import annotations

import os

from pydantic import BaseModel

from perago import Flow, task, workflow

OWNER = "benchmarks@example.org"
STEPS = int(os.environ.get("PERAGO_BENCH_STEPS", "100"))


class Number(BaseModel):
    number: int = 0


@task(name="bench.step", owner_email=OWNER)
def step(params: Number) -> Number:
    """Return the input."""
    return Number(number=params.number)


@workflow(name="bench_beside", owner_email=OWNER)
def beside(flow: Flow) -> None:
    """All tasks beside each other."""
    with flow.parallel():
        for number in range(STEPS):
            flow.run(step, number=number)


@workflow(name="bench_chain", owner_email=OWNER)
def chain(flow: Flow) -> Number:
    """All tasks one after the other, each with the result of the one before it."""
    last = flow.run(step, number=0)
    for _ in range(STEPS - 1):
        last = flow.run(step, number=last.number)
    return last


@workflow(name="bench_single", owner_email=OWNER)
def single(flow: Flow) -> Number:
    """One task."""
    return flow.run(step, number=1)
