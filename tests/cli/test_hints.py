"""The commands that messages give can be pasted into a shell, whatever the paths and names are."""

from __future__ import annotations

import os
import re
import subprocess

import pytest


@pytest.fixture
def odd(project, perago):
    """A repository whose path a shell would take apart."""
    project.write({"a.txt": "alpha"})
    assert perago("import", "source", "--repo", "my data; $(x).git").code == 0
    return "my data; $(x).git"


def _commands(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def _shell(project, command: str, **environment: str) -> int:
    return subprocess.run(
        command, shell=True, cwd=project.path, env={**project.environment, **environment}, capture_output=True
    ).returncode


def test_a_branch_that_is_not_there_is_made_by_either_command(project, perago, odd):
    importing, branching = _commands(perago("log", "--repo", odd, "--branch", "it'snew").err)
    assert _shell(project, importing.replace("DIR", "source")) == 0
    assert _shell(project, branching.replace("it'\"'\"'snew", "other").replace("COMMIT", "main")) == 0
    assert perago("log", "--repo", odd, "--branch", "it'snew").code == 0
    assert perago("log", "--repo", odd, "--branch", "other").code == 0


def test_a_repository_that_is_not_there_is_made_by_the_command(project, perago):
    project.write({"a.txt": "alpha"})
    [importing] = _commands(perago("log", "--repo", "new data.git").err)
    assert _shell(project, importing.replace("DIR", "source")) == 0
    assert perago("log", "--repo", "new data.git").code == 0


def test_a_prefix_that_is_not_there_is_looked_for_by_the_command(project, perago, odd):
    [listing] = _commands(perago("export", "out", "--repo", odd, "--prefix", "nope").err)
    assert _shell(project, listing) == 0


def test_a_commit_that_is_not_there_is_looked_for_by_the_command(project, perago, odd):
    said = perago("run", "cli_bodies:write", "--repo", odd, "--branch", "main", "--ref", "nope")
    [listing] = _commands(said.err)
    assert _shell(project, listing.replace("BRANCH", "main")) == 0


def test_a_run_that_is_not_there_is_looked_for_in_its_repository(project, perago, odd):
    [listing] = _commands(perago("run", "--resume", "20260101-000000-abcdef", "--repo", odd).err)
    assert listing.startswith("perago runs --repo ")
    assert _shell(project, listing) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a repository to another user")
def test_a_repository_of_another_user_is_trusted_after_the_command(project, perago, odd, tmp_path):
    os.chown(project.path / odd, 12345, 12345)
    (project.path / "beside").mkdir()
    path = f"beside/../{odd}"
    environment = {"HOME": str(tmp_path)}
    said = project.run("log", "--repo", path, env=environment)
    [trusting] = _commands(said.err)
    assert "belongs to another user" in said.err
    assert _shell(project, trusting, **environment) == 0
    assert project.run("log", "--repo", path, env=environment).code == 0
