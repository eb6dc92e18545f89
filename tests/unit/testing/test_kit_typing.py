"""What a type checker makes of the testing kit: results have the type that the task's function returns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
from typing import assert_type
from pydantic import BaseModel
from perago import WorkspaceSpec, task
from perago.testing import BodyRun, FinishedAttempt, MemoryWorkflow, run_body

class P(BaseModel):
    x: int = 0

class R(BaseModel):
    y: int

@task(name="a", owner_email="o", workspace=WorkspaceSpec())
def plain(workspace: Path, params: P) -> R:
    return R(y=params.x)

@task(name="b", owner_email="o")
async def asynchronous(params: P) -> R:
    return R(y=params.x)

assert_type(run_body(plain, P(), {"a": "", "b": b""}), BodyRun[R])
assert_type(run_body(asynchronous, {"x": 1}), BodyRun[R])
workflow = MemoryWorkflow(Path("a"))
assert_type(workflow.run(plain, at={"body": workflow.cancel}), FinishedAttempt[R])
assert_type(workflow.run(asynchronous).result, R)
workflow.run(plain, at={"body": lambda: workflow.person_commits({"a": None})})
run_body(plain, P(), ["a"])  # call-overload
run_body(plain, P()).result.z  # attr-defined
"""


@pytest.mark.long
def test_results_are_typed_and_wrong_uses_are_told(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes",
         "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "program.py")],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.stderr == ""
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    lines = PROGRAM.splitlines()
    wrong = [
        (number, lines[number - 1].split("# ")[1]) for number in range(1, len(lines) + 1) if "# " in lines[number - 1]
    ]
    assert [(int(line.split(":")[1]), line.rsplit("[", 1)[1].rstrip("]")) for line in found] == wrong, done.stdout
