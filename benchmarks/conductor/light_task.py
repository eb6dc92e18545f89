"""A free task that does next to nothing; declared as Perago and the reference both read it.

The name is that of PERAGO_BENCH_TASK, so that each worker has a queue of its own.
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
    """Give back what came."""
    return Answer(text=params.text)
