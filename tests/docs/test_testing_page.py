"""The examples of docs/testing.md, run as the tests that they are."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from pages import PROJECT, named

PAGE = PROJECT / "docs" / "testing.md"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """The page's Python, by file: blocks that begin with the same name are one file."""
    joined: dict[str, str] = defaultdict(str)
    for name, code in named(PAGE, "python"):
        joined[name] += code
    return joined


def examples_in(code: str) -> list[ast.FunctionDef]:
    return [
        node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]


def test_the_examples_pass(files: dict[str, str], tmp_path: Path) -> None:
    for name, code in files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    count = sum(len(examples_in(code)) for code in files.values())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--color=no"],
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"\n{count} passed in " in done.stdout, done.stdout + done.stderr
    assert count >= 15


@pytest.mark.parametrize(("name", "lines"), [("test_body.py", 3), ("test_attempts.py", 5), ("test_counting.py", 3)])
def test_bodies_and_workflows_take_three_lines_and_attempts_five(files: dict[str, str], name: str, lines: int) -> None:
    first = examples_in(files[name])[0]
    assert first.end_lineno is not None
    assert first.end_lineno - first.lineno == lines
