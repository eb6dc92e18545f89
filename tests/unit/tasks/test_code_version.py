"""The git commit of a task's code, and whether the code differs from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.machine import slowness

MODULE = """
from pydantic import BaseModel
from perago import task
class P(BaseModel):
    x: int = 0
@task(name='t', owner_email='t@example.org')
def build(params: P) -> P:
    return params
"""

PRINT = """
import sys
from {module} import build
from perago.tasks.code_version import code_version
found = code_version(build.__perago_task__)
print(found and f"{{found.commit}} {{found.is_dirty}}", "pygit2" in sys.modules)
"""
FIRST = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@example.org"}
COMMITTER = {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_CONFIG_GLOBAL": os.devnull}


class Project:
    """A folder with a package `app` in a git work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("app/__init__.py", "")
        self.write("app/tasks.py", MODULE)
        self.write("app/lib/rows.py", "ROWS = 1\n")
        self.write("notes.txt", "1")
        self.write("alone.py", MODULE)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, **FIRST, **COMMITTER}
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60 * slowness(),
        )
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "--quiet", "--message", "all")
        return self.git("rev-parse", "HEAD")

    def version(self, module: str = "app.tasks", folder: Path | None = None) -> str:
        """What a fresh process says of the task's code, and whether it has loaded pygit2."""
        done = subprocess.run(
            [sys.executable, "-B", "-c", PRINT.format(module=module)],
            cwd=folder or self.folder,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * slowness(),
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "here").mkdir()
    made = Project(tmp_path / "here")
    made.git("init", "--quiet")
    return made


def test_the_commit_is_the_one_checked_out_and_the_code_is_clean(project: Project) -> None:
    commit = project.commit()
    assert project.version() == f"{commit} False True"
    assert project.version("alone") == f"{commit} False True"


@pytest.mark.parametrize(
    ("name", "text", "dirty"),
    [
        ("app/tasks.py", MODULE + "\n", True),
        ("app/lib/rows.py", "ROWS = 2\n", True),
        ("app/lib/new.py", "", True),
        ("app/lib/rows.py", None, True),
        ("notes.txt", "2", False),
        ("alone.py", "", False),
        ("app/data.csv", "1", False),
    ],
)
def test_only_what_the_digest_covers_makes_the_code_dirty(
    project: Project, name: str, text: str | None, *, dirty: bool
) -> None:
    commit = project.commit()
    if text is None:
        (project.folder / name).unlink()
    else:
        project.write(name, text)
    assert project.version() == f"{commit} {dirty} True"


def test_a_linked_work_tree_has_the_commit_that_it_shows(project: Project, tmp_path: Path) -> None:
    first = project.commit()
    project.git("worktree", "add", "--quiet", str(tmp_path / "linked"), first)
    project.write("app/tasks.py", MODULE + "\n")
    second = project.commit()
    assert project.version() == f"{second} False True"
    assert project.version(folder=tmp_path / "linked") == f"{first} False True"


def test_code_that_the_commit_does_not_have_is_of_no_commit(project: Project) -> None:
    """As a package that is installed into an environment below a work tree."""
    project.write(".gitignore", "/app\n/alone.py\n")
    project.commit()
    assert project.version() == "None True"
    assert project.version("alone") == "None True"


def test_without_a_work_tree_there_is_no_commit_and_no_git_library(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    assert Project(tmp_path / "bare").version() == "None False"


def test_a_repository_without_a_commit_or_a_damaged_one_has_none(project: Project) -> None:
    assert project.version() == "None True"
    project.commit()
    (project.folder / ".git" / "HEAD").write_text("nonsense")
    assert project.version() == "None True"


def test_a_repository_that_others_can_write_is_not_believed_nor_is_its_configuration_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERAGO_ROOT_PARENTS", raising=False)
    commit = project.commit()
    ran = project.folder / "ran"
    hook = project.folder / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    project.git("config", "core.fsmonitor", str(hook))
    project.git("config", "filter.evil.clean", str(hook))
    project.write(".gitattributes", "*.py filter=evil\n")
    assert project.version() == f"{commit} False True"
    assert not ran.exists()
    (project.folder / ".git").chmod(0o777)
    assert project.version() == "None False"
    (project.folder / ".git").chmod(0o755)
    project.folder.chmod(0o777)
    assert project.version() == "None False"
