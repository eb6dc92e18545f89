"""How often `perago run` tries a task of a workflow."""

from __future__ import annotations

import pytest

GATED = ("cli_workflow:gated", "--param", 'words=["a"]', "--branch", "main")


@pytest.fixture
def tries(perago, project, monkeypatch, tmp_path):
    """Runs a command, and returns its exit code and the number of tries of the task that waits for the gate."""
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PERAGO_REPO", "data.git")
    project.write({"first.txt": "1"})
    assert perago("import", "source").code == 0

    def run(*arguments: str) -> tuple[int, int]:
        said = perago("run", *arguments, "--fast-retries", "--json")
        return said.code, said.json["tasks"][1]["tries"]

    return run


def last_run(perago) -> str:
    return perago("runs", "--json").json[0]["run_id"]


def test_retries_take_the_place_of_those_of_each_task(tries):
    assert tries(*GATED, "--retries", "0") == (1, 1)
    assert tries(*GATED, "--retries", "3") == (1, 4)


def test_a_resumed_run_keeps_its_retries_unless_told_otherwise(perago, tries, tmp_path):
    assert tries(*GATED, "--retries", "0") == (1, 1)
    resume = ("--resume", last_run(perago))
    assert tries(*resume) == (1, 2)
    assert tries(*resume, "--retries", "2") == (1, 5), "two after the try that goes on"
    assert tries(*resume) == (1, 8), "the new number is recorded"
    (tmp_path / "gate").touch()
    assert tries(*resume) == (0, 9)


def test_a_run_from_the_head_keeps_the_retries_of_the_run_that_it_repeats(perago, tries):
    assert tries(*GATED, "--retries", "0") == (1, 1)
    assert tries("--resume", last_run(perago), "--onto-head") == (1, 1)
