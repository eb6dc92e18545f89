"""What a type checker makes of `@task`: the function keeps its type, and wrong options are told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
from pathlib import Path
from typing import assert_type
from pydantic import BaseModel
from perago import TaskContext, WorkspaceSpec, task

class P(BaseModel):
    x: int = 0

@task(name="a", owner_email="o", workspace=WorkspaceSpec())
def with_workspace(workspace: Path, params: P) -> P:
    return params

@task(name="b", owner_email="o")
async def asynchronous(params: P, context: TaskContext) -> P:
    return params

assert_type(with_workspace(Path("a"), P()), P)
async def call() -> None:
    assert_type(await asynchronous(P(), TaskContext.for_test()), P)
"""

WRONG = """
with_workspace("a", P())  # arg-type
with_workspace(Path("a"))  # call-arg
task(name="a")  # call-arg
task(name="a", owner_email="o", retry=3)  # call-arg
task(name="a", owner_email="o", workspace="/")  # arg-type
"""


def errors_of(program, tmp_path):
    """Line -> code, for each error of the strict checker."""
    (tmp_path / "program.py").write_text(program)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-error-codes",
         "--cache-dir", str(tmp_path / "cache"), "--follow-imports=silent", str(tmp_path / "program.py")],
        cwd=root, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.stderr == ""
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    return {int(line.split(":")[1]): line.rsplit("[", 1)[1].rstrip("]") for line in found}


@pytest.mark.long
def test_a_decorated_function_keeps_its_type_and_wrong_uses_are_told(tmp_path):
    program = RIGHT + WRONG
    expected = {
        number: line.split("# ")[1]
        for number, line in enumerate(program.splitlines(), start=1)
        if line.endswith(("arg-type", "call-arg"))
    }
    assert len(expected) == 5
    assert errors_of(program, tmp_path) == expected
