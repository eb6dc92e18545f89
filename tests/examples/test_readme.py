"""The first task of the README, typed in as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def first_task(tmp_path):
    """The section's module and commands, in a directory with texts of three words, one of them twice."""
    section = README.read_text().partition("## A first task")[2].partition("\n## ")[0]
    ((name, module),) = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", section, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    (tmp_path / name).write_text(module)
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("Penguins swim")
    (texts / "two.txt").write_text("penguins dive swim")

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-euc", "\n".join([commands, *more])],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def test_the_first_task_does_what_it_says(first_task, tmp_path):
    done = first_task()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "words.list").read_text().split() == ["Penguins", "dive", "penguins", "swim"]
    assert "count_words" in done.stdout
    assert '{"words": 4}' in done.stdout


def test_the_options_that_the_readme_names_are_there(first_task):
    options = re.findall(r"`(--[a-z-]+)", README.read_text().partition("## A first task")[2])
    done = first_task(
        "perago run --help; perago check --help; perago extract --help; perago runs --help; perago doctor --help"
    )
    assert done.returncode == 0, done.stderr
    missing = [option for option in options if option not in done.stdout]
    assert not missing
