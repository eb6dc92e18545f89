"""What `.ci/test` excuses, what it names, and what it never lets pass; and what `.ci/run` says at its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CI = HERE.parent / ".ci"

MAKEFILE = """
test test-long:
\t.venv/bin/pytest -q {options} tests
libraries environments check docs manifests package:
\t@echo {name} done
"""
ONCE = """
    marker = pathlib.Path({marker!r})
    is_first = not marker.exists()
    marker.write_text("")
    assert not is_first, "the first time"
"""
HEAD = "import pathlib, pytest\nfrom hypothesis import given, settings, strategies as st\n\n"


@pytest.fixture
def project(tmp_path):
    """A project with our scripts and conftest, whose tests a test writes."""
    shutil.copytree(CI, tmp_path / ".ci")
    for script in ("install-packages", "find-python"):
        (tmp_path / ".ci" / script).write_text("#!/bin/sh\necho python3\n")
    (tmp_path / ".ci" / "pythons").write_text("#!/bin/sh\n")  # there is no other
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "tests" / "support").mkdir(parents=True)
    for ours in ("conftest.py", "support/figures.py"):
        shutil.copy(HERE / ours, tmp_path / "tests" / ours)
    shutil.copy(HERE.parent / "pyproject.toml", tmp_path)

    def write(code: str, options: str = "") -> Path:
        (tmp_path / "Makefile").write_text(MAKEFILE.format(options=options, name="$@"))
        (tmp_path / "tests" / "test_it.py").write_text(HEAD + code)
        return tmp_path

    return write


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CI": "", "JOBS": "0", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    command = [directory / ".ci" / script, *{"test": ["test"], "units": [directory / "again"]}.get(script, [])]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=280)


def once(tmp_path: Path, name: str = "marker") -> str:
    return ONCE.format(marker=str(tmp_path / name))


def test_a_test_that_passes_only_when_run_again_is_named_at_the_very_end(project, tmp_path):
    directory = project(f"def test_slow():{once(tmp_path)}\n\ndef test_fine():\n    pass\n", "-n 1")
    done = run("run", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-2:] == [
        "All passed, but these only in a second run, alone. Fix them first:",
        "tests/test_it.py::test_slow",
    ]


def test_where_all_pass_at_once_that_is_all_it_says(project):
    done = run("run", project("def test_fine():\n    pass\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == "All passed."


def test_units_run_on_all_pythons_at_once_and_failed_ones_again_when_all_have_ended(project, tmp_path):
    directory = project("")
    (directory / ".ci" / "pythons").write_text("#!/bin/sh\necho 3.88 one; echo 3.99 two\n")
    (directory / "requirements").mkdir()
    for older in (directory / "requirements" / "units.txt", directory / "pyproject.toml"):
        older.touch()
        os.utime(older, (0, 0))
    for version in ("3.88", "3.99"):
        environment = directory / "build" / f"units-{version}"
        environment.mkdir(parents=True)
        (environment / "bin").symlink_to(Path(sys.executable).parent)
        (environment / ".installed").touch()
    (directory / "tests" / "unit").mkdir()
    (directory / "tests" / "unit" / "test_it.py").write_text(HEAD + f"def test_slow():{once(tmp_path)}\n")
    done = run("units", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("==> ") or " in a second" in line] == [
        "==> Units on Python 3.88, one",
        "==> Units on Python 3.99, two",
        "==> Once more, alone:",
    ]
    assert (directory / "again").read_text() == "tests/unit/test_it.py::test_slow\n"


def test_what_fails_again_fails(project):
    done = run("test", project("def test_bad():\n    assert 0\n"))
    assert done.returncode == 1
    assert done.stdout.count("1 failed") == 2


AT_RANDOM = """
from hypothesis.stateful import RuleBasedStateMachine, rule

@settings(database=None)
@given(st.integers())
def test_property(number):{property}

class Machine(RuleBasedStateMachine):
    @rule()
    def step(self):{machine}

TestMachine = Machine.TestCase

@pytest.mark.property
def test_kills_at_random():{marked}
"""


def test_what_was_drawn_at_random_is_excused_by_no_second_run(project, tmp_path):
    bodies = {name: once(tmp_path, name) for name in ("property", "machine", "marked")}
    bodies["machine"] = bodies["machine"].replace("\n    ", "\n        ")
    done = run("test", project(AT_RANDOM.format(**bodies), "-n 1"))
    assert done.returncode == 1, done.stdout
    assert "Once more, alone" not in done.stdout
    assert done.stdout.endswith(
        "Failures of tests with random cases are not excused by a second run:\ntests/test_it.py::TestMachine::runTest\n"
        "tests/test_it.py::test_kills_at_random\ntests/test_it.py::test_property\n"
    )


def test_a_property_test_that_ran_out_of_time_has_falsified_nothing(project, tmp_path):
    """The machine stalled: hypothesis's own complaints of slowness, and the timeout of a test."""
    code = """
import time

@pytest.mark.timeout(2)
@settings(database=None, deadline=None)
@given(st.integers())
def test_property(number):
    marker = pathlib.Path({marker!r})
    if not marker.exists():
        marker.write_text("")
        time.sleep(30)
"""
    done = run("test", project(code.replace("{marker!r}", repr(str(tmp_path / "slow")))))
    assert done.returncode == 0, done.stdout
    assert "Passed only in the second run" in done.stdout
