"""`perago run --dry-run`, which publishes nothing, and `--debug`, which runs the body in the command's process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from conductor_stub import StubConductor, recorded_task
from servers.machine import slowness

REPO = ("--repo", "data.git", "--branch", "main")

DEBUGGED = """
import multiprocessing
import os
from cli_bodies import *

kept = []

class Crooked(TaskTerminalError, SyntaxError):
    def __init__(self):
        self.reason, self.filename, self.lineno, self.text, self.offset = "crooked", "f", 1, "text", "one"

@task(name="debugged", owner_email=OWNER, workspace=WorkspaceSpec())
def debugged(workspace: Path, params: Params) -> Result:
    if params.kind == "raise":
        raise KeyError("missing")
    if params.kind == "crooked":
        raise Crooked
    answer = 41
    if params.kind == "open":
        kept.append((workspace / "open.txt").open("w"))
    if params.kind == "exit":
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        os._exit(0)
    if params.kind == "pools":
        for _ in range(5):
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(abs, range(10))
    if params.kind == "break":
        breakpoint()
    if params.kind == "trace":
        import pdb; pdb.set_trace()
    print("printed")
    return Result(length=os.getpid())
"""


@pytest.fixture
def debugged(repository):
    (repository.path / "debugged.py").write_text(DEBUGGED)
    return repository


def test_a_dry_run_shows_what_would_change_and_changes_nothing(repository, perago):
    before = repository.head()
    said = perago("run", "cli_bodies:replace_all", *REPO, "--dry-run")
    assert said.code == 0
    assert json.loads(said.out) == {"length": 3}
    assert "  added     new.txt  3 B" in said.err
    assert "  modified  a.txt  5 B -> 12 B" in said.err
    assert "  deleted   b.txt  4 B" in said.err
    assert "Dry run: 1 added, 1 modified, 1 deleted. Nothing was published." in said.err
    assert repository.head() == before
    assert repository.git("for-each-ref", "refs/perago") == ""
    assert perago("runs", "--repo", "data.git", "--json").json == []
    assert list(repository.workspace_root.iterdir()) == []


def test_a_dry_run_as_json_lists_every_change(repository, perago):
    told = perago("run", "cli_bodies:replace_all", *REPO, "--dry-run", "--json").json
    assert told["result"] == {"length": 3}
    assert told["changes"] == [
        {"change": "added", "path": "new.txt", "before": None, "after": 3},
        {"change": "modified", "path": "a.txt", "before": 5, "after": 12},
        {"change": "deleted", "path": "b.txt", "before": 4, "after": None},
    ]


def test_a_dry_run_that_changes_nothing_or_reads_only(repository, perago):
    for task in ("leave", "read"):
        assert "Dry run: nothing changed." in perago("run", f"cli_bodies:{task}", *REPO, "--dry-run").err


def test_a_dry_run_that_fails_exits_with_1_and_may_keep_its_workspace(repository, perago):
    said = perago("run", "cli_bodies:fail", *REPO, "--dry-run", "--keep", "--json")
    assert said.code == 1
    assert said.json["reason"] == "not today"
    assert (Path(said.json["kept"]) / "half.txt").exists()
    assert "error: task fail failed: not today" in said.err
    assert perago("run", "cli_bodies:guarded", *REPO, "--dry-run").code == 1


def test_a_debugged_dry_run_that_fails_tells_it_on_stdout(repository):
    said = repository.run("run", "cli_bodies:fail", *REPO, "--dry-run", "--debug", "--json")
    assert said.code == 1
    assert said.json == {"dry_run": True, "exit_code": 1, "reason": "not today", "kept": None}
    assert "error: task fail failed: not today" in said.err
    assert '"dry_run"' not in said.err


def test_debug_runs_the_body_in_the_commands_own_process(debugged):
    with debugged.start("run", "debugged", *REPO, "--debug") as process:
        out, err = process.communicate(timeout=30 * slowness())
    assert process.returncode == 0, err
    assert json.loads(out) == {"length": process.pid}
    assert "printed" in err


def test_pools_of_a_debugged_body_end_as_those_of_a_program(debugged):
    said = debugged.run("run", "debugged", *REPO, "--debug", "--param", "kind=pools")
    assert said.code == 0, said.err
    assert "KeyboardInterrupt" not in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback_of_a_body(debugged, perago):
    said = perago("run", "debugged", *REPO, "--debug", "--param", "kind=raise")
    assert said.code == 1
    assert re.search(r'File ".*debugged.py", line 15, in debugged', said.err)
    assert "error: task debugged failed: KeyError: 'missing'" in said.err


def test_debug_keeps_the_outcome_of_a_body_whose_error_has_no_traceback_that_python_can_show(debugged, perago):
    said = perago("run", "debugged", *REPO, "--debug", "--json", "--param", "kind=crooked")
    assert (said.code, said.json["status"], said.json["reason"]) == (1, "FAILED_WITH_TERMINAL_ERROR", "crooked")
    assert "Crooked has a traceback that cannot be shown" in said.err


TELLING = """
from cli_bodies import *

@task(name="tell", owner_email=OWNER)
def tell(params: Params) -> Sum:
    raise ConnectionError(f"the server did not take {params.password.get_secret_value()}")
"""


@pytest.mark.parametrize("environment", [{}, {"PERAGO_TRACEBACK": "1"}], ids=["", "PERAGO_TRACEBACK"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("cli_bodies:log_in", *REPO, "--debug"),
        ("cli_bodies:log_in", *REPO, "--dry-run", "--debug"),
        ("cli_bodies:log_in", *REPO, "--retries", "1"),
        ("telling", "--debug"),
        ("telling",),
    ],
)
def test_a_traceback_does_not_show_the_secrets_among_the_params(repository, arguments, environment):
    (repository.path / "telling.py").write_text(TELLING)
    (repository.path / "p.json").write_text('{"password": "tok-very-long-secret"}')
    said = repository.run("run", *arguments, "--params", "@p.json", env=environment)
    assert said.code == 1
    assert ("Traceback" in said.err) is bool(environment or "--debug" in arguments)
    assert "ConnectionError: the server did not take ****" in said.err
    assert "very-long" not in said.out + said.err


def test_a_replay_with_a_traceback_does_not_show_them_either(project):
    (project.path / "telling.py").write_text(TELLING)
    task = recorded_task("tell", {"params": {"password": "tok-very-long-secret"}})
    with StubConductor(200, task) as conductor:
        environment = {"CONDUCTOR_SERVER_URL": conductor.url}
        said = project.run("run", "telling", "--task-id", "recorded", "--debug", env=environment)
    assert said.code == 1
    assert "Traceback" in said.err
    assert "ConnectionError: the server did not take ****" in said.err
    assert "very-long" not in said.out + said.err


def test_a_breakpoint_stops_in_the_body(debugged):
    with debugged.start("run", "debugged", *REPO, "--debug", "--param", "kind=break", stdin=subprocess.PIPE) as process:
        out, err = process.communicate("p answer + 1\nc\n", timeout=30 * slowness())
    assert process.returncode == 0, err
    assert json.loads(out) == {"length": process.pid}
    assert re.search(r"^(\(Pdb\) )?42$", err, re.MULTILINE)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize("typed", ["q\n", ""], ids=["q", "end of input"])
def test_a_debugger_that_is_left_cancels_the_run_in_one_line(debugged, options, typed):
    arguments = ("run", "debugged", *REPO, "--debug", "--param", "kind=break", *options)
    said = debugged.run(*arguments, stdin_text=typed)
    assert said.code == 130, said.err
    assert "error: task debugged was cancelled: the debugger was quit before the body ended\n" in said.err
    assert "Traceback" not in said.err
    assert "BdbQuit" not in said.err
    if not options:
        assert json.loads(debugged.run("runs", "--repo", "data.git", "--json").out)[0]["status"] == "CANCELED"


@pytest.mark.parametrize("kind", ["break", "trace"])
def test_a_breakpoint_without_debug_says_what_is_missing(debugged, kind):
    said = debugged.run("run", "debugged", *REPO, "--param", f"kind={kind}")
    assert said.code == 1
    assert "--debug" in said.err.splitlines()[-3], said.err
    assert f"{debugged.path}/debugged.py:" in said.err
    assert ("(Pdb)" in said.err) is (kind == "trace")  # pdb.set_trace() asks nobody
    other = debugged.run("run", "debugged", *REPO, "--param", "kind=break", env={"PYTHONBREAKPOINT": "0"})
    assert other.code == 0, other.err


def test_ctrl_c_in_a_debugged_body_cleans_up_and_exits_with_130(repository, tmp_path):
    params = ("--param", f"touch={tmp_path / 'there'}", "--param", "wait_for=/nowhere/x")
    head = repository.head()
    with repository.start("run", "cli_bodies:write", *params, *REPO, "--debug") as process:
        pid = int(repository.wait_for(tmp_path / "there"))
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30 * slowness())
    assert pid == process.pid
    assert process.returncode == 130
    assert err.rstrip().endswith("error: interrupted")
    assert "Traceback" not in err
    assert repository.head() == head
    assert list(repository.workspace_root.iterdir()) == []
    assert json.loads(repository.run("runs", "--repo", "data.git", "--json").out)[0]["status"] == "CANCELED"


def test_debug_says_what_differs_from_a_run(debugged):
    said = debugged.run("run", "debugged", *REPO, "--debug")
    assert said.code == 0
    assert said.err.count("--debug: the body runs in this process") == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [("open", "files open for writing: 'open.txt'"), ("exit", "the body called os._exit(0)")],
)
def test_a_body_that_a_run_would_end_otherwise_fails_when_debugged(debugged, kind, words):
    said = debugged.run("run", "debugged", *REPO, "--debug", "--param", f"kind={kind}")
    assert said.code == 1
    assert words in said.err
    assert list(debugged.workspace_root.iterdir()) == []
