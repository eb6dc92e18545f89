"""`perago run` that is interrupted or killed: real signals to a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from servers.machine import slowness
from waiting import wait_for

REPO = ("--repo", "data.git", "--branch", "main")


@pytest.fixture
def start(repository, tmp_path):
    """Start a run whose body waits, and hand it over when the body has begun."""

    def start_run(task="write", *arguments, waits_for=tmp_path / "go"):
        there = tmp_path / "there"
        there.unlink(missing_ok=True)
        params = ("--param", f"touch={there}", "--param", f"wait_for={waits_for}")
        process = repository.start("run", f"cli_bodies:{task}", *params, *arguments)
        text = repository.wait_for(there)
        return process, int(text or 0)

    return start_run


def _listed(repository, *arguments):
    return json.loads(repository.run("runs", *arguments, "--json").out)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(process):
    out, err = process.communicate(timeout=30 * slowness())
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_body_cleans_up_and_exits_with_130(repository, start, number):
    head = repository.head()
    process, body = start("write", *REPO, "--json")
    process.send_signal(number)
    code, out, err = _end(process)
    assert code == 130, err
    assert "Cancelling: the body is asked to stop" in err
    assert "error: task write was cancelled" in err
    told = json.loads(out)
    assert (told["status"], told["exit_code"], told["output"]) == ("CANCELED", 130, None)
    assert not _is_alive(body)
    assert repository.head() == head
    assert list(repository.workspace_root.iterdir()) == []
    [listed] = _listed(repository, "--repo", "data.git")
    assert listed["status"] == "CANCELED"
    assert repository.git("for-each-ref", "refs/perago") == ""


def test_a_body_that_is_cancelled_on_an_empty_prefix_is_told_as_one(repository, tmp_path):
    (repository.path / "nothing_there.py").write_text(
        "from cli_bodies import *\n"
        "@task(name='sleepy', owner_email=OWNER, workspace=WorkspaceSpec(prefix='nothing'))\n"
        "def sleepy(workspace: Path, params: Params) -> Result:\n"
        "    return write(workspace, params)\n"
    )
    there = tmp_path / "there"
    params = ("--param", f"touch={there}", "--param", f"wait_for={tmp_path / 'go'}")
    process = repository.start("run", "nothing_there:sleepy", *params, *REPO, "--json")
    repository.wait_for(there)
    process.send_signal(signal.SIGINT)
    code, out, err = _end(process)
    assert code == 130, err
    assert json.loads(out)["reason"] == "task 'sleepy': cancelled while its body ran"
    assert "has no files" in err


def test_a_body_that_looks_is_told_that_it_is_cancelled(repository, tmp_path, start):
    process, _ = start("heed", *REPO)
    process.send_signal(signal.SIGINT)
    code, _, _ = _end(process)
    assert code == 130
    assert (tmp_path / "go").read_text() == "heeded"  # SIGTERM would have ended it before


def test_a_second_signal_ends_it_at_once_and_leaves_nothing(repository, start):
    process, body = start("write", *REPO)
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 30 * slowness()
    line = ""
    while "Press Ctrl-C again" not in line:
        assert time.monotonic() < deadline
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    code, _, err = _end(process)
    assert code == 130
    assert "error: interrupted" in err  # and not "was cancelled", which comes when the body has had its time
    assert not _is_alive(body)
    assert list(repository.workspace_root.iterdir()) == []
    [listed] = _listed(repository, "--repo", "data.git")
    assert listed["status"] == "CANCELED"
    assert f"  perago run --resume {listed['run_id']} --repo data.git\n" in err


def test_a_free_task_is_cancelled_too(repository, start):
    process, body = start("wait_free")
    process.send_signal(signal.SIGINT)
    code, _, err = _end(process)
    assert code == 130, err
    assert not _is_alive(body)
    assert _listed(repository)[0]["status"] == "CANCELED"


def test_a_cancelled_run_can_be_resumed(repository, start, tmp_path):
    process, _ = start("write", *REPO)
    process.send_signal(signal.SIGINT)
    _, _, err = _end(process)
    resume = re.search(r"perago run --resume (\S+) --repo data.git", err)
    assert resume is not None
    (tmp_path / "go").write_text("")
    said = repository.run("run", "--resume", resume[1], "--repo", "data.git", "--json")
    assert said.code == 0, said.err
    assert (said.json["tries"], said.json["how"]) == (2, "published")


def test_a_killed_run_leaves_no_process_is_listed_as_killed_and_can_be_resumed(repository, start, tmp_path):
    head = repository.head()
    process, body = start("write", *REPO)
    process.kill()
    _end(process)
    wait_for(lambda: not _is_alive(body))
    [listed] = _listed(repository, "--repo", "data.git")
    assert listed["status"] == "killed"
    assert repository.head() == head
    assert len(list(repository.workspace_root.iterdir())) == 1
    (tmp_path / "go").write_text("")
    said = repository.run("run", "--resume", listed["run_id"], "--repo", "data.git", "--json")
    assert said.code == 0, said.err
    assert "Removed 1 directory that killed runs left." in said.err
    assert (said.json["tries"], said.json["how"]) == (2, "published")
    assert list(repository.workspace_root.iterdir()) == []


KILLED_AFTER_PUBLISHING = """
import os, signal, sys
from perago.running import watch
from perago.cli.app import invoke
from perago.ports import Phase

class Killed(watch.RunObserver):
    def __call__(self, event, /):
        if event.phase is Phase.REPORT:
            os.kill(os.getpid(), signal.SIGKILL)
        super().__call__(event)

import perago.cli.run.task
perago.cli.run.task.RunObserver = Killed
sys.exit(invoke(sys.argv[1:]))
"""


@pytest.fixture
def killed(repository):
    """Kill a run after it has published and before it is reported; returns its id."""

    def kill(text):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                KILLED_AFTER_PUBLISHING,
                "run",
                "cli_bodies:write",
                "--param",
                f"text={text}",
                *REPO,
            ],
            cwd=repository.path,
            env=repository.environment,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == -signal.SIGKILL
        return _listed(repository, "--repo", "data.git")[0]["run_id"]

    return kill


def test_resuming_a_run_that_was_killed_after_publishing_adopts_what_it_published(repository, killed):
    run_id = killed("hello")
    published = repository.head()
    said = repository.run("run", "--resume", run_id, "--repo", "data.git", "--json")
    assert said.code == 0, said.err
    assert said.json["how"] == "adopted"
    assert said.json["output"]["workspace"]["ref"] == published
    assert said.json["output"]["result"] == {"length": 5}
    assert "body: running" not in said.err
    assert repository.git("rev-parse", "main~1") == published
    log = repository.run("log", *REPO).out.splitlines()
    assert log[0].endswith(f"write sealed: completed with {published[:12]}")


def test_resuming_with_other_code_replaces_what_was_published(repository, killed):
    (repository.path / "cli_bodies.py").write_text(
        (repository.path.parent / "bodies.py").read_text()
    ) if False else None
    run_id = killed("hello")
    published = repository.head()
    source = (Path(__file__).parent / "modules" / "cli_bodies.py").read_text()
    (repository.path / "cli_bodies.py").write_text(source.replace("params.text)", "params.text.upper())"))
    said = repository.run(
        "run", "--resume", run_id, "--repo", "data.git", "--json", env={"PYTHONPATH": str(repository.path)}
    )
    assert said.code == 0, said.err
    assert (said.json["how"], said.json["replaced"]) == ("replaced", [published])
    assert repository.show("out.txt") == "HELLO"
    assert repository.git("rev-parse", "main~1") == published
    assert f", replacing {published[:12]}" in repository.run("log", *REPO).out
