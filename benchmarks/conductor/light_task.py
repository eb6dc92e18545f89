"""A free task that does almost nothing, declared for both Perago and the reference.

Its name comes from PERAGO_BENCH_TASK, so that each worker has its own queue.
"""

from __future__ import annotations

import os

from pydantic import BaseModel

from perago import task


class Params(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


@task(name=os.environ.get("PERAGO_BENCH_TASK", "bench.light"), owner_email="benchmarks@example.org")
def echo(params: Params) -> Answer:
    """Return the input."""
    return Answer(text=params.text)
