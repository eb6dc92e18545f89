"""Guards that are functions of a task's module, in processes of their own."""

from __future__ import annotations

import os

import pytest

import perago as package
from perago import TaskExecutionError

REPO = ("--repo", "data.git", "--branch", "main")
SECRET = "not-for-guards-4711"


@pytest.fixture
def gate(repository, monkeypatch):
    monkeypatch.setenv("CLI_GATE", str(repository.path))
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("CONDUCTOR_AUTH_KEY", "a-key")
    monkeypatch.setenv("CONDUCTOR_AUTH_SECRET", SECRET)
    return repository.path


def test_guards_hold_in_processes_of_their_own_without_credentials(repository, perago, gate):
    said = perago("run", "cli_guards:checked", *REPO)
    assert said.code == 0, said.err
    pid, secret = (gate / "pre").read_text().split()
    assert len({pid, str(said.json["pid"]), str(os.getpid())}) == 3
    assert secret == "None"
    assert "looks at the header" in said.err
    assert repository.show("in/out.csv") == "a,b"  # which the body leaves open


def test_a_violated_post_guard_fails_the_try_and_says_what_it_raised(repository, perago, gate):
    head = repository.head()
    said = perago("run", "cli_guards:checked", *REPO, "--param", "text=x", "--retries", "1", "--json")
    assert said.code == 1
    assert said.json["tries"] == 2
    assert said.json["status"] == "FAILED"
    assert "the post guard did not hold: has_header raised ValueError: the header is 'x' (at " in said.json["reason"]
    assert "cli_guards.py:" in said.json["reason"]
    assert repository.head() == head


def test_a_violated_pre_guard_fails_the_task_for_good(repository, perago, gate):
    repository.write({"a.txt": ""}, "empty")
    assert perago("import", "empty", "--repo", "data.git", "--prefix", "in").code == 0
    said = perago("run", "cli_guards:checked", *REPO, "--retries", "1", "--json").json
    assert (said["status"], said["tries"]) == ("FAILED_WITH_TERMINAL_ERROR", 1)
    assert "1 of 2 pre guards did not hold: is_not_empty raised AssertionError: a.txt is empty" in said["reason"]


def test_a_guard_that_ends_its_process_fails_the_try(repository, gate):
    import cli_guards

    with pytest.raises(TaskExecutionError, match="a post guard's process exited with code 7 before"):
        package.run(cli_guards.dying, repo="data.git", branch="main")


def test_check_shows_them_by_name(perago, gate):
    shown = perago("check", "cli_guards:checked").out
    assert "before: require_file a.txt" in shown
    assert "before: is_not_empty" in shown
    assert "after: has_header" in shown


def test_a_dry_run_knows_the_sizes_before_and_after_the_body(perago, gate):
    said = perago("run", "cli_guards:checked", *REPO, "--dry-run", "--json").json
    assert said["changes"] == [{"change": "added", "path": "out.csv", "before": None, "after": 3}]


def test_they_hold_on_lakefs_too(songs, perago, monkeypatch):
    monkeypatch.setenv("CLI_GATE", str(songs.path))
    said = perago("run", "cli_guards:checked", *songs.on_main)
    assert said.code == 0, said.err
    assert songs.files()["in/out.csv"] == "a,b"
