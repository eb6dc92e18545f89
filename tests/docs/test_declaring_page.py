"""The tasks of docs/start/declaring.md: what `perago check` says of them, and what their bodies do."""

from __future__ import annotations

import json

import pytest

from pages import PROJECT, environment, named, run_script

PAGE = PROJECT / "docs" / "start" / "declaring.md"
ON_FILES = ("guards", "outputs", "isolation:measure", "isolation:plot")
FREE = ("fetching", "training", "controls")
TARGETS = (*ON_FILES, *FREE)
PREPARED = """
mkdir -p data/stations/raw && printf 'hour,celsius\\n6,8.2\\n' > data/stations/raw/oslo.csv
perago import data --repo data.git --branch main
"""


@pytest.fixture
def shell(tmp_path):
    """Runs lines of shell in a directory that has the page's files."""
    for name, code in named(PAGE, "python"):
        (tmp_path / name).write_text(code, encoding="utf-8")
    return lambda script: run_script(script, tmp_path, environment(tmp_path))


def test_nothing_is_wrong_with_the_declarations(shell):
    told = shell("".join(f"perago check {target} 2>&1\n" for target in TARGETS))
    assert told.count("\nSettings\n") == len(TARGETS)
    assert "warning" not in told


def test_the_bodies_do_what_the_page_says(shell, tmp_path):
    shell(PREPARED)
    found = [json.loads(shell(f"perago run {target} --repo data.git --branch main")) for target in ON_FILES]
    assert found == [{"rows": 1}, {"rows": 1}, {"files": 3}, {"files": 1}]
    assert [json.loads(shell(f"perago run {target}")) for target in FREE] == [{"waited": 0.0}, {"rounds": 3}, {}]
    shell("perago export out --repo data.git")
    exported = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert exported == {
        "stations/raw/oslo.csv",
        "stations/rows.txt",
        "stations/clean/oslo/rows.csv",
        "plot.svg",
    }


def test_unknown_params_are_refused_where_the_page_says_so(shell):
    assert shell("perago run fetching --param second=1 2>&1 || echo $?").endswith("\n2\n")
    assert json.loads(shell("perago run training --param round=1")) == {"rounds": 3}


def test_conductor_takes_the_timeouts(shell):
    shell("perago extract controls -o taskdef.json")
    taskdef = json.loads(shell("cat taskdef.json"))
    assert 0 < taskdef["responseTimeoutSeconds"] <= taskdef["timeoutSeconds"]
