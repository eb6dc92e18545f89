"""Stdout is for the result, and nothing else gets there. Where it or stderr takes nothing, the outcome is the same."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

REPO = ("--repo", "data.git", "--branch", "main")
NOISY = """
import os
import subprocess
print("from Python")
os.system("echo from a shell")
from cli_single import single
"""


@pytest.fixture
def noisy(repository):
    (repository.path / "noisy.py").write_text(NOISY)
    return repository


@pytest.mark.parametrize(
    "command",
    [
        ("run", "noisy:single", *REPO),
        ("run", "noisy:single", *REPO, "--debug"),
        ("run", "noisy:single", *REPO, "--dry-run"),
        ("check", "noisy:single", "--json"),
        ("extract", "noisy:single", "-o", "x.json", "--json"),
    ],
)
def test_what_a_module_prints_when_it_is_loaded_goes_to_stderr(noisy, command):
    said = noisy.run(*command)
    assert said.code == 0
    assert isinstance(json.loads(said.out), dict)
    assert "from Python" in said.err
    assert "from a shell" in said.err


def test_what_a_module_prints_when_it_is_loaded_in_this_process_goes_to_stderr(noisy, perago):
    said = perago("check", "noisy:single", "--json")
    assert said.json["tasks"][0]["name"] == "single"
    assert "from Python" in said.err


def _gone() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize(
    ("stdout", "reason"),
    [(_gone, "Broken pipe"), (lambda: os.open("/dev/full", os.O_WRONLY), "No space left on device")],
    ids=["gone", "full"],
)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_run_is_what_it_came_to_wherever_its_result_goes(repository, stdout, reason, more):
    write = stdout()
    try:
        said = repository.run("run", "cli_bodies:write", *REPO, *more, stdout=write)
        failed = repository.run("run", "cli_bodies:fail", *REPO, *more, stdout=write)
        imported = repository.run("import", "source/in", "--repo", "data.git", *more, stdout=write)
    finally:
        os.close(write)
    assert said.code == 0
    assert reason in said.err
    assert f"Published commit {repository.head('main~1')} on branch main." in said.err
    assert failed.code == 1
    assert "error: task fail failed: not today" in failed.err
    assert imported.code == 0
    assert reason in imported.err


_WRITING = {
    "run": (("run", "cli_bodies:write", *REPO, "--json"), 0),
    "dry run": (("run", "cli_bodies:replace_all", *REPO, "--dry-run", "--json"), 0),
    "failed": (("run", "cli_bodies:fail", *REPO, "--json"), 1),
    "debugged": (("run", "cli_bodies:fail", *REPO, "--json", "--debug"), 1),
    "import": (("import", "source/in", "--repo", "data.git", "--json"), 0),
    "nothing begun": (("run", "cli_bodies:nowhere", *REPO, "--json"), 2),
    "usage": (("run", "--no-such-option", "--json"), 2),
}


@pytest.mark.parametrize("stderr", [_gone, lambda: os.open("/dev/full", os.O_WRONLY)], ids=["gone", "full"])
@pytest.mark.parametrize(("arguments", "code"), _WRITING.values(), ids=_WRITING)
def test_a_command_comes_to_the_same_where_stderr_takes_nothing(repository, stderr, arguments, code):
    write = stderr()
    try:
        said = repository.run(*arguments, stderr=write)
    finally:
        os.close(write)
    assert said.code == code
    assert isinstance(said.json, dict)


def test_a_dry_run_for_people_comes_to_the_same_where_stderr_takes_nothing(repository):
    with Path("/dev/full").open("w") as full:
        said = repository.run("run", "cli_bodies:replace_all", *REPO, "--dry-run", stderr=full)
    assert (said.code, said.json) == (0, {"length": 3})


def _in_shell(project, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], cwd=project.path, env=project.environment, capture_output=True, text=True
    )


def test_a_closed_stdout_is_told_and_no_other_file_takes_its_place(repository):
    done = _in_shell(repository, "exec perago run cli_bodies:write --repo data.git --branch main >&-")
    assert done.returncode == 0
    assert "stdout is closed" in done.stderr
    assert f"Published commit {repository.head()} on branch main." in done.stderr
    assert repository.git("fsck", "--strict") == ""


def test_a_closed_stdin_holds_no_params(repository):
    done = _in_shell(repository, "exec perago run cli_bodies:write --repo data.git --branch main --params - <&-")
    assert done.returncode == 2
    assert "--params" in done.stderr
    assert "itself failed" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "command",
    [
        "run cli_bodies:write --repo data.git --branch main",
        "run cli_bodies:write --repo data.git --branch main --debug --json",
        "import source/in --repo data.git --prefix more",
        "log --repo data.git",
        "runs --repo data.git",
        "doctor --repo data.git",
        "check cli_bodies",
    ],
)
def test_a_command_comes_to_the_same_where_a_stream_is_closed(repository, command, closed):
    done = _in_shell(repository, f"exec perago {command} {closed}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert repository.git("fsck", "--strict") == ""
