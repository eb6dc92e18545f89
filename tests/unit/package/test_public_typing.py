"""What type checkers make of the public names: results have the type that the task's function returns.

A line of the program that is wrong ends with a comment: mypy's code for the error, and pyright's rule.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from servers.machine import slowness

pytestmark = pytest.mark.long

PROGRAM = """
from pathlib import Path
from typing import Any, assert_type
from pydantic import BaseModel
import perago
from perago import CompletedRun, Flow, WorkspaceSpec, check_guardrails, require_file, task, workflow
from perago.testing import BodyRun, FinishedAttempt, FinishedWorkflow, MemoryWorkflow, run_body

class P(BaseModel):
    x: int = 0

class R(BaseModel):
    y: int

def looks_inside(workspace: Path) -> None: ...

@task(name="a", owner_email="o", workspace=WorkspaceSpec(pre=[require_file("a"), looks_inside], post=[looks_inside]))
def plain(workspace: Path, params: P) -> R:
    return R(y=params.x)

@task(name="b", owner_email="o")
async def asynchronous(params: P) -> R:
    return R(y=params.x)

# declaring a task

assert_type(plain(Path("a"), P()), R)
async def call() -> None:
    assert_type(await asynchronous(P()), R)
plain("a", P())  # arg-type reportArgumentType
plain(Path("a"))  # call-arg reportCallIssue
task(name="a")  # call-arg reportCallIssue
task(name="a", owner_email="o", retry=3)  # call-arg reportCallIssue
task(name="a", owner_email="o", workspace="/")  # arg-type reportArgumentType

# declaring a workflow

@workflow(name="w", owner_email="o")
def flows(flow: Flow, params: P) -> R:
    with flow.parallel():
        first = flow.run(plain, x=params.x)
        second = flow.run(asynchronous, P())
    assert_type(first, R)
    assert_type(second.y, int)
    assert_type(flow.map(plain, over=[1, 2], as_="x"), list[R])
    assert_type(flow.map(asynchronous, over=[1, 2], as_="x")[0].y, int)
    flow.map(plain, over=params.x, as_="x")  # call-overload reportArgumentType
    flow.run(plain, x=first.z)  # attr-defined reportAttributeAccessIssue
    flow.run(plain, x=params.z)  # attr-defined reportAttributeAccessIssue
    with flow.when(params.x) as case, case.case(1):
        flow.run(asynchronous, x=second.y)
    made: P = flow.output(R, y=first.y)  # assignment reportAssignmentType
    return flow.output(R, y=first.y)

@workflow(name="n", owner_email="o")
def returns_nothing(flow: Flow) -> None:
    flow.run(asynchronous)

# running

assert_type(perago.run(plain, P(), repo="r.git", branch="main"), CompletedRun[R])
assert_type(perago.run(asynchronous, {"x": 1}).result, R)
assert_type(perago.run(flows, repo=Path("r.git"), branch="main").result.y, int)
assert_type(perago.run("pkg.module:flows"), CompletedRun[Any])
assert_type(perago.run(plain).changes.added, tuple[str, ...])
perago.run(flows).result.z  # attr-defined reportAttributeAccessIssue
perago.run(plain, branch=1)  # call-overload reportCallIssue
perago.run(plain, [1])  # call-overload reportCallIssue
check_guardrails("a", [looks_inside, require_file("a")], "pre")

# testing

assert_type(run_body(plain, P(), {"a": "", "b": b""}), BodyRun[R])
assert_type(run_body(asynchronous, {"x": 1}), BodyRun[R])
kit = MemoryWorkflow(Path("a"))
assert_type(kit.run(plain, at={"body": kit.cancel}), FinishedAttempt[R])
assert_type(kit.run(asynchronous).result, R)
assert_type(kit.run(flows, {"x": 1}), FinishedWorkflow[R])
assert_type(kit.run(flows).result.y, int)
assert_type(kit.run(returns_nothing), FinishedWorkflow[None])
kit.run(plain, at={"body": lambda: kit.person_commits({"a": None})})
run_body(plain, P(), ["a"])  # call-overload reportCallIssue
run_body(plain, P()).result.z  # attr-defined reportAttributeAccessIssue
"""

LINES = PROGRAM.splitlines()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def expect_told(found: list[tuple[int, str]], checker: int, said: str) -> None:
    """All wrong lines are told, each with its error, maybe among others; and no other line."""
    marked = {number: line.split("  # ")[1].split() for number, line in enumerate(LINES, 1) if "  # " in line}
    assert {number for number, _ in found} == set(marked), said
    assert {(number, errors[checker]) for number, errors in marked.items()} <= set(found), said


def test_mypy_knows_the_results_and_tells_wrong_uses(program):
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes"]
    options = ["--follow-imports=silent", "--cache-dir", str(program.parent / "cache"), str(program)]
    done = subprocess.run(
        [*command, *options], cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=240
    )
    assert done.stderr == ""
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    told = [(int(line.split(":")[1]), line.rsplit("[", 1)[1].rstrip("]")) for line in found]
    expect_told(told, 0, done.stdout)


def test_pyright_knows_the_results_and_tells_wrong_uses(program):
    (program.parent / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard"}))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, str(program)]
    done = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, timeout=240 * slowness())
    said = json.loads(done.stdout)["generalDiagnostics"]
    found = [(entry["range"]["start"]["line"] + 1, entry["rule"]) for entry in said if entry["severity"] == "error"]
    expect_told(found, 1, done.stdout)
