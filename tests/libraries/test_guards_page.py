"""The example of docs/guards.md, with pandas and PyArrow. `make libraries`."""

from __future__ import annotations

import json
import subprocess

import pytest

from library_support import needs_libraries
from pages import PROJECT, environment, named

pytestmark = needs_libraries

GOOD = "hour,celsius\n6,8.25\n7,9.5\n"


@pytest.fixture
def run(tmp_path):
    """Imports a CSV file, runs the page's task on it, and gives what `perago run` printed as JSON."""
    for name, code in named(PROJECT / "docs" / "guards.md", "python"):
        (tmp_path / name).write_text(code, encoding="utf-8")

    def perago(*arguments):
        command = ["perago", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)

    def run_on(content):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "raw.csv").write_text(content)
        imported = perago("import", "data", "--repo", "data.git")
        assert imported.returncode == 0, imported.stderr
        done = perago("run", "stations", "--repo", "data.git", "--branch", "main", "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    return run_on


def test_columns_and_types_as_declared_hold(run):
    done = run(GOOD)
    assert (done["status"], done["output"]["result"]) == ("COMPLETED", {"rows": 2})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (GOOD.replace("6,", "6.5,"), "1 of 3 pre guards did not hold: csv_has.columns raised ValueError: raw.csv has"),
        ("celsius,hour\n8.25,6\n", "csv_has.columns raised ValueError: raw.csv has the columns"),
        (GOOD.replace("9.5", "950.0"), "temperatures_are_possible raised AssertionError: from 8.25 to 950.0 degrees"),
    ],
    ids=["type", "order", "value"],
)
def test_what_is_not_as_declared_ends_the_task_and_says_why(run, content, said):
    done = run(content)
    assert done["status"] == "FAILED_WITH_TERMINAL_ERROR"
    assert said in done["reason"]
    assert "stations.py:" in done["reason"]
