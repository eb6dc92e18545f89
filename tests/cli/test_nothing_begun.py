"""What keeps a command from beginning ends it with 2; 1 is for a task that failed."""

from __future__ import annotations

import os
import subprocess

import pytest

from conductor_stub import StubConductor, recorded_task
from perago.http.retry import RetryPolicy

REPO = ("--repo", "data.git", "--branch", "main")
WITH_REPOSITORY = {
    "run": ("run", "cli_bodies:write", *REPO),
    "runs": ("runs", "--repo", "data.git"),
    "log": ("log", *REPO),
    "import": ("import", "source", *REPO),
    "export": ("export", "out", *REPO),
    "doctor": ("doctor", "--repo", "data.git"),
}
"""By its command: a command line on a git repository."""


def test_a_repository_that_git_cannot_read_is_no_failure_of_a_task(project, perago):
    project.write({"a.txt": "alpha"})
    subprocess.run(["git", "init", "-q", "--bare", "--object-format=sha256", project.repo], check=True)
    for arguments in WITH_REPOSITORY.values():
        said = perago(*arguments)
        assert (said.code, "data.git" in said.err) == (2, True), (arguments, said)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a repository to another user")
def test_a_repository_of_another_user_is_no_failure_of_a_task(repository, tmp_path):
    os.chown(repository.repo, 12345, 12345)
    for arguments in WITH_REPOSITORY.values():
        said = repository.run(*arguments, env={"HOME": str(tmp_path)})
        assert (said.code, "belongs to another user" in said.err) == (2, True), (arguments, said)


@pytest.mark.parametrize("what", [*WITH_REPOSITORY, "fence check", "fence install"])
def test_a_server_that_cannot_be_reached_is_no_failure_of_a_task(repository, perago, monkeypatch, what):
    _name_a_server_that_is_away(monkeypatch)
    arguments = WITH_REPOSITORY.get(what, (*what.split(), *REPO))
    said = perago(*(word.replace("data.git", "lakefs://data") for word in arguments), "--json")
    assert said.code == 2, said.err
    assert said.json["error"]["exit_code"] == 2
    assert "127.0.0.1:1" in said.err


def _name_a_server_that_is_away(monkeypatch):
    monkeypatch.setenv("LAKECTL_SERVER_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr("perago.http.session.RetryPolicy", lambda: RetryPolicy(base_seconds=0.01))


@pytest.mark.parametrize("repo", [(), ("--repo", "nowhere.git")], ids=["server away", "no such repository"])
def test_a_replay_without_its_repository_is_no_failure_of_the_task(project, perago, monkeypatch, repo):
    _name_a_server_that_is_away(monkeypatch)
    workspace = {"repository": "data", "branch": "main", "refType": "commit", "ref": "0" * 40}
    with StubConductor(200, recorded_task("write", {"workspace": workspace, "params": {}})) as conductor:
        monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
        said = perago("run", "cli_bodies:write", "--task-id", "recorded", *repo, "--json")
    assert (said.code, said.json["error"]["exit_code"]) == (2, 2), said.err
    assert "task write failed" not in said.err


@pytest.mark.parametrize("command", [("check", "cli_bodies", "--server"), ("register", "cli_bodies")])
def test_a_conductor_that_fails_is_no_failure_of_a_task(project, perago, monkeypatch, command):
    with StubConductor(500, {"message": "out of order"}) as conductor:
        monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
        said = perago(*command, "--json")
    assert (said.code, said.json["error"]["exit_code"]) == (2, 2), said.err
    assert "out of order" in said.err


def test_an_export_to_where_no_directory_can_be_made_has_not_begun(repository, perago):
    (repository.path / "file").write_text("in the way")
    for target in ("file/out", "/proc/nowhere/out", "/proc/tty/ldisc"):  # the last is there, and empty
        said = perago("export", target, "--repo", "data.git")
        assert (said.code, "Give another directory" in said.err) == (2, True), said.err


def test_a_current_directory_that_is_gone_is_told(repository):
    command = "mkdir gone && cd gone && rmdir ../gone && exec perago run cli_bodies:add --param numbers=[1]"
    done = subprocess.run(
        ["sh", "-c", command], cwd=repository.path, env=repository.environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.endswith("error: the current directory no longer exists; change to another one\n")
