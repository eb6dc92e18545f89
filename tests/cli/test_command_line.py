"""The program as a whole: what it costs to start, how it says what is wrong, and its exit codes."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys

import pytest

from perago import __version__, errors
from perago.cli.app import _COMMANDS
from perago.cli.failure import exit_code_of, report_failure
from perago.engines.local.summary import KILLED, RUNNING, UNREADABLE

HEAVY = {"pydantic", "pygit2", "rich", "structlog", "psutil", "asyncio"}


@pytest.mark.parametrize("module", ["perago", "perago.cli"])
def test_the_package_and_its_commands_can_be_run_as_modules(module):
    said = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.strip().endswith(__version__)


def test_help_lists_every_command_and_the_exit_codes(perago):
    said = perago("--help")
    assert said.code == 0
    for name in _COMMANDS:
        assert f"\n  {name} " in said.out
    assert "130 interrupted" in said.out


@pytest.mark.parametrize("name", _COMMANDS)
def test_each_command_says_what_it_does_and_knows_json(perago, name):
    said = perago(name, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_the_help_of_runs_names_every_status_that_it_shows(perago):
    ends = {"COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR", "CANCELED"}
    statuses = ends | {KILLED, UNREADABLE, RUNNING}
    said = perago("runs", "--help").out
    assert {status for status in statuses if not re.search(rf"\b{status}\b", said)} == set()


def test_help_loads_nothing_heavy(project):
    code = "import sys; from perago.cli.app import invoke; invoke(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("perago")} == {
        "perago",
        "perago._version",
        "perago.cli",
        "perago.cli.app",
    }


def test_help_takes_at_most_six_times_as_long_as_python_itself(project):
    # Coverage, where it measures the children too, would start in both, and hide what help takes.
    environment = {name: value for name, value in project.environment.items() if not name.startswith("COV")}

    def seconds(*command: str) -> float:
        """CPU seconds, so that tests that run at the same time do not count."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    rounds = [(seconds(sys.executable, "-c", "pass"), seconds("perago", "--help")) for _ in range(9)]
    python, told = (min(taken) for taken in zip(*rounds, strict=True))
    assert told <= 6 * python


def test_the_module_is_the_program(project):
    said = subprocess.run(
        [sys.executable, "-m", "perago", "--version"], capture_output=True, text=True, env=project.environment
    )
    assert said.returncode == 0
    assert said.stdout.strip() == project.run("--version").out.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage: perago"),
        (("imprt",), "error: no such command 'imprt'. Did you mean 'import'?"),
        (("start", "cli_bodies", "--domain", " "), "error: Invalid value for '--domain': it is empty; leave the"),
        (("zzz",), "error: no such command 'zzz'. There are run, runs, start"),
        (("log",), "error: Missing option '--repo'."),
        (("log", "--repo", "x", "--nonsense"), "error: No such option"),
        (("log", "--repo", "x", "-n", "0"), "error: Invalid value for '-n'"),
    ],
)
def test_what_is_no_command_line_exits_with_2(perago, arguments, said):
    done = perago(*arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""


def test_with_json_an_error_is_an_object_on_stdout_and_text_on_stderr(perago):
    said = perago("log", "--repo", "nowhere.git", "--json")
    assert said.code == 2
    assert said.json["error"]["type"] == "RepositoryNotFoundError"
    assert said.json["error"]["exit_code"] == 2
    assert said.err.strip() == f"error: {said.json['error']['message']}"
    assert perago("log", "--json", "--nonsense").json["error"]["type"] == "UsageError"


def test_json_as_a_value_is_no_option(perago):
    said = perago("export", "--repo", "nowhere.git", "--", "--json")
    assert (said.code, said.out) == (2, "")


def test_a_traceback_comes_only_when_asked_for(project):
    plain = project.run("log", "--repo", "nowhere.git")
    assert "Traceback" not in plain.err
    assert plain.code == 2
    told = project.run("log", "--repo", "nowhere.git", env={"PERAGO_TRACEBACK": "1"})
    assert "Traceback" in told.err
    assert told.code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (errors.TaskCancelledError("x"), 130),
        (errors.PublishFenceError("x"), 3),
        (errors.HeadMovedError("x"), 3),
        (errors.StaleAttemptError("x"), 3),
        (errors.TaskDefinitionError("x"), 2),
        (errors.TaskInputError("x"), 2),
        (errors.RuntimeConfigError("x"), 2),
        (errors.RepositoryNotFoundError("x"), 2),
        (errors.BranchNotFoundError("x"), 2),
        (errors.RefNotFoundError("x"), 2),
        (errors.PrefixNotFoundError("x"), 2),
        (errors.ObjectNameError("x"), 2),
        (errors.RunNotFoundError("x"), 2),
        (errors.RunBusyError("x"), 2),
        (errors.TaskFailed("x"), 1),
        (errors.StoreError("x"), 1),
        (errors.WorkspaceStorageError("x"), 1),
        (OSError("x"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error, code):
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("password=hunter2"), "error: Perago itself failed: RuntimeError: password=**********."),
        (OSError(28, "No space left on device"), "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), "error: interrupted"),
        (errors.StoreError(""), "error: StoreError"),
    ],
)
def test_whatever_ends_a_command_is_told_in_a_line(capsys, error, said):
    report_failure(error, ["log"])
    assert capsys.readouterr().err.startswith(said)


def test_a_reader_that_goes_away_is_no_traceback(repository):
    read, write = os.pipe()
    os.close(read)
    try:
        said = repository.run("log", "--repo", "data.git", stdout=write)
    finally:
        os.close(write)
    assert said.code == 1
    assert said.err == ""
