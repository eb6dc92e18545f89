"""Infinity and NaN, which JSON does not have, reach bodies from everywhere."""

from __future__ import annotations

import json

MODULE = """
import math
from pydantic import BaseModel
from perago import Flow, task, workflow

class Params(BaseModel):
    low: float = -math.inf
    high: float = 1.0

class Seen(BaseModel):
    seen: str

class Nothing(BaseModel):
    number: float = 0

@task(name="look", owner_email="t@example.org")
def look(params: Params) -> Seen:
    return Seen(seen=f"{params.low} {params.high}")

@task(name="diverge", owner_email="t@example.org")
def diverge(params: Params) -> Nothing:
    return Nothing(number=params.low)

@workflow(name="wired", owner_email="t@example.org")
def wired(flow: Flow, params: Params) -> Seen:
    return flow.run(look, low=params.low, high=math.nan)
"""


def test_they_reach_the_body_of_a_task_and_of_a_workflow_as_the_numbers(perago, project):
    (project.path / "endless.py").write_text(MODULE)
    assert perago("run", "endless:look").json == {"seen": "-inf 1.0"}
    assert perago("run", "endless:look", "--param", "low=inf", "--param", "high=1e999").json == {"seen": "inf inf"}
    assert perago("run", "endless:look", "--params", '{"low": "NaN"}').json == {"seen": "nan 1.0"}
    assert perago("run", "endless:wired").json == {"seen": "-inf nan"}
    assert perago("run", "endless:wired", "--param", "low=1e999").json == {"seen": "inf nan"}
    for target in ("look", "wired"):
        assert perago("extract", f"endless:{target}", "-o", "out.json").code == 0
        text = (project.path / "out.json").read_text()
        json.loads(text, parse_constant=lambda name: refuse(name))
        assert '"Infinity"' in text or '"-Infinity"' in text or '"NaN"' in text
    assert 'low: float (default "-Infinity")' in perago("check", "endless:look").out


def test_in_a_result_they_are_null_and_warned_of(perago, project):
    (project.path / "endless.py").write_text(MODULE)
    said = perago("run", "endless:diverge")
    assert said.json == {"number": None}
    assert "result.number" in said.err


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
