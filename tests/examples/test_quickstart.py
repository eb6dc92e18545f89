"""The quickstart script, as `make quickstart` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def quickstart(examples):
    def run_script(directory: Path) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", str(examples / "quickstart.sh"), str(directory)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run_script


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    ).stdout


def test_the_quickstart_publishes_what_it_says(quickstart, tmp_path):
    done = quickstart(tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    repository = tmp_path / "out" / "penguins.git"
    files = _git(repository, "ls-tree", "-r", "--name-only", "main").split()
    assert {"raw/penguins.csv", "clean/gentoo.csv", "reports/summary.csv"} <= set(files)
    assert len(_git(repository, "rev-list", "main").split()) == 3  # the import and two publications
    _git(repository, "fsck", "--strict")
    assert (tmp_path / "out" / "tables" / "reports" / "summary.csv").exists()


def test_the_second_run_of_the_quickstart_says_what_it_took_and_from_where(quickstart, tmp_path):
    done = quickstart(tmp_path / "out")
    first, second = re.split(r"^Workflow penguins is done", done.stderr, flags=re.MULTILINE)[:2]
    made = dict(re.findall(r"^(\w+): COMPLETED in .*\badded, commit (\w+)$", first, re.MULTILINE))
    taken = dict(re.findall(r"^(\w+): COMPLETED in .*cached from (\w+),", second, re.MULTILINE))
    assert taken == made
    assert taken.keys() == {"clean_penguins", "summarise_penguins"}


def test_the_quickstart_shows_the_guard_and_the_history_and_says_what_to_look_at(quickstart, examples, tmp_path):
    out = tmp_path / "out"
    done = quickstart(out)
    said = done.stdout + done.stderr
    assert "require_glob" in said
    assert "clean/*.csv" in said
    history = done.stdout.rpartition("perago log")[2]
    assert "clean_penguins" in history
    assert "summarise_penguins" in history
    end = done.stdout.rpartition("\nDone. Look at\n")[2]
    files, command, browser, *pages = (re.split(r"  +", line.strip())[0] for line in end.splitlines())
    assert Path(files) == out / "tables"
    assert command == f"git -C {out}/penguins.git show"
    assert "summarise_penguins" in _git(out / "penguins.git", "show")
    assert browser == f"perago ui --repo {out}/penguins.git"
    assert [(examples.parent / page).is_file() for page in pages] == [True, True, True]


def test_the_quickstart_can_be_run_again(quickstart, tmp_path):
    assert quickstart(tmp_path / "out").returncode == 0
    assert quickstart(tmp_path / "out").returncode == 0


def test_the_quickstart_removes_nothing_that_it_did_not_make(quickstart, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "precious.txt").write_text("keep me")
    done = quickstart(mine)
    assert done.returncode == 2
    assert "Name another directory" in done.stderr
    assert (mine / "precious.txt").read_text() == "keep me"
