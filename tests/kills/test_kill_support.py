"""What looks for secrets where runs are killed would see one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kill_support import PASSWORD, Project
from perago.stores.git import GitStore


@pytest.fixture
def project(tmp_path):
    return Project.create(tmp_path / "project")


def in_a_file(project):
    (project.root / "supervisor").mkdir(parents=True)
    (project.root / "supervisor" / "status.json").write_text(f'{{"password": "{PASSWORD}"}}')


def in_a_commit_that_nothing_names(project):
    source = project.directory / "secret"
    source.mkdir()
    (source / "params.json").write_text(PASSWORD)
    GitStore(project.repository).import_directory(source, "secret", "told")
    (source / "params.json").unlink()
    project.git("update-ref", "-d", "refs/heads/secret")


@pytest.mark.parametrize("tell", [in_a_file, in_a_commit_that_nothing_names])
def test_a_secret_is_found_where_a_run_has_written(project, tell):
    project.run_arguments(1)
    project.check_no_secret()
    tell(project)
    with pytest.raises(AssertionError):
        project.check_no_secret()


def test_a_secret_is_found_in_what_a_command_says(project):
    project.check_told("nothing", "at all")
    with pytest.raises(AssertionError):
        project.check_told("nothing", f"password={PASSWORD}")


def test_a_secret_is_found_on_a_command_line(project):
    lives = "import time; time.sleep(60)"  # its stdin is empty
    with project.start(sys.executable, "-c", lives, PASSWORD) as process:
        with pytest.raises(AssertionError):
            project.check_processes(process)
        process.kill()
        process.wait()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        project.check_processes(process)
        process.kill()
