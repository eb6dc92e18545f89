"""Where the code of a task is: its text, and its place in a git repository with a public name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from perago.tasks import task_source as module
from perago.tasks.code_version import forget_versions
from perago.tasks.load import load_module_task
from perago.tasks.task_source import public_url, task_source

TASK = """
from pydantic import BaseModel

from perago import task

class Params(BaseModel):
    text: str = ""

@task(name="source.told", owner_email="ada@example.org")
def told(params: Params) -> Params:
    password = "hunter22hunter22"
    return params
"""


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Writes the module of a task into a directory, and loads it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(name):
        (tmp_path / f"{name}.py").write_text(TASK)
        return lambda: load_module_task(name)

    yield load
    for name in [name for name in sys.modules if name.startswith("source_of_")]:
        del sys.modules[name]
    forget_versions()


def git(directory, *arguments):
    identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ("https://someone:hunter22@git.example.org:8443/birds.git", "https://git.example.org:8443/birds.git"),
        ("git@git.example.org:team/birds.git", "ssh://git.example.org/team/birds.git"),
        ("ssh://git@git.example.org/birds.git", "ssh://git.example.org/birds.git"),
        ("https://git.example.org/birds.git?token=hunter22", "https://git.example.org/birds.git"),
        ("/home/ada/birds.git", None),
        ("../birds.git", None),
        ("file:///home/ada/birds.git", None),
    ],
)
def test_a_remote_is_told_without_credentials_and_without_paths_of_this_machine(remote, url):
    assert public_url(remote) == url


def test_a_task_in_a_clone_is_told_with_its_place_and_its_text_masked(tmp_path, loaded):
    load = loaded("source_of_clone")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", "https://ada:hunter22@git.example.org/birds.git")
    git(tmp_path, "add", "source_of_clone.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    found = task_source(load())
    assert (found.repository, found.path) == ("https://git.example.org/birds.git", "source_of_clone.py")
    assert (found.version.commit, found.version.is_dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    assert "def told(params: Params)" in found.text
    assert "hunter22" not in repr(found)


def test_a_task_outside_of_git_is_told_by_its_text_up_to_a_limit(loaded, monkeypatch):
    task = loaded("source_of_none")()
    found = task_source(task)
    assert (found.repository, found.path, found.version) == (None, None, None)
    assert "def told(" in found.text
    monkeypatch.setattr(module, "MAX_CHARACTERS", 10)
    assert task_source(task).text is None


def test_a_task_of_perago_itself_has_none():
    assert task_source(load_module_task("perago.workflows.builtin:gather")) is None
