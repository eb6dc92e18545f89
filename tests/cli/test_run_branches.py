"""The branch of a transactional run: people's commands do not commit to it, and `doctor` keeps that of a live run."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

import perago as python_api
from git_support import run_branch
from perago.running.request import RunArgumentError
from perago.values.models import RUN_PREFIX
from servers.conductor_api import fresh, simple
from servers.machine import slowness

WHOLE = "cli_transactional:whole"
OF_ANY_AGE = ("--runs-older-than", "0.001s")


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """What the tasks of the run do; see cli_transactional.py."""
    path = tmp_path / "gate"
    path.write_text("go on")
    monkeypatch.setenv("CLI_GATE", str(path))
    return path


@pytest.fixture(params=["git", pytest.param("lakefs", marks=pytest.mark.long)])
def place(request):
    """A project with a repository of each kind, and `--repo` for it."""
    if request.param == "lakefs":
        songs = request.getfixturevalue("songs")
        return songs, ("--repo", songs.address), songs.staging_branches
    project = request.getfixturevalue("repository")

    def run_branches():
        return project.git("for-each-ref", "--format=%(refname:short)", f"refs/heads/{RUN_PREFIX}*").split()

    return project, ("--repo", str(project.repo)), run_branches


COMMANDS = {
    "run": ("run", "cli_transactional:first", "--param", "number=1"),
    "run of a workflow": ("run", WHOLE, "--param", "number=1"),
    "submit": ("submit", WHOLE, "--param", "number=1"),
    "import": ("import", "source"),
    "import of a preview": ("import", "source", "--dry-run"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_publishes_to_the_branch_of_a_run(repository, perago, gate, command):
    on = ("--repo", str(repository.repo))
    gate.write_text("fail")
    failed = perago("run", WHOLE, "--param", "number=1", *on, "--branch", "main", "--json").json["run_id"]
    (branch,) = [run["run_branch"] for run in perago("runs", *on, "--json").json]
    made = repository.head(branch)
    said = perago(*COMMANDS[command], *on, "--branch", branch)
    assert said.code == 2, said.err
    assert f"branch '{branch}' belongs to a transactional run" in said.err
    assert repository.head(branch) == made
    gate.write_text("go on")
    assert perago("run", "--resume", failed, *on).code == 0


def test_python_does_not_publish_to_the_branch_of_a_run(repository):
    repository.git("branch", branch := run_branch("another"), "main")
    with pytest.raises(RunArgumentError, match="only that run's tasks publish to it"):
        python_api.run("cli_transactional:first", {"number": 1}, repo=repository.repo, branch=branch)


def test_the_fence_is_not_put_on_the_branch_of_a_run(songs, perago):
    branch = songs.repository.branch(run_branch("another"), "main", hidden=True)
    said = perago("fence", "install", "--repo", songs.address, "--branch", branch)
    assert (said.code, songs.head(branch)) == (2, songs.head()), said.err


def test_doctor_keeps_the_branch_of_a_live_run_that_has_not_published_yet(place, perago, gate):
    project, repo, branches = place
    gate.write_text("wait first")
    with project.start(
        "run", WHOLE, "--param", "number=1", *repo, "--branch", "main", env={"CLI_GATE": str(gate)}
    ) as run:
        try:
            project.wait_for(gate.with_suffix(".waiting"))
            (branch,) = branches()
            said = perago("doctor", *repo, *OF_ANY_AGE, "--fix", "--json")
            assert (said.json["findings"], branches()) == ([], [branch])
        finally:
            gate.write_text("go on")
            _, err = run.communicate(timeout=120 * slowness())
    assert run.returncode == 0, err
    assert perago("doctor", *repo, *OF_ANY_AGE, "--fix").code == 0
    assert branches() == []


def test_doctor_keeps_the_young_branch_of_a_run_that_it_does_not_know(place, perago, monkeypatch):
    """Such as one of another host, whose record is there."""
    project, repo, branches = place
    branch = run_branch("20260101-000000-abcdef", datetime.now(UTC) - timedelta(hours=3))
    _create(project, branch)
    assert perago("doctor", *repo, *OF_ANY_AGE, "--fix", "--json").json["findings"] == []
    assert branches() == [branch]
    monkeypatch.setenv("PERAGO_RUN_BRANCH_TTL", "0.001s")
    assert perago("doctor", *repo, "--fix").code == 0
    assert branches() == []


def _create(project, branch):
    if hasattr(project, "repository"):
        project.repository.branch(branch, "main", hidden=True)
    else:
        project.git("branch", branch, "main")


def test_doctor_asks_the_conductor_server_about_a_run(place, perago, conductor, monkeypatch):
    project, repo, branches = place
    name = conductor.define_workflow(fresh("w"), [simple(conductor.define_task(fresh("t")), "one")])
    workflow = conductor.start_workflow(name, {})
    of_server, of_nobody = run_branch(workflow), run_branch(str(uuid.uuid4()))
    for branch in (of_server, of_nobody):
        _create(project, branch)
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    assert perago("doctor", *repo, *OF_ANY_AGE, "--fix", "--json").json["findings"] == []
    conductor.terminate(workflow)
    assert perago("doctor", *repo, *OF_ANY_AGE, "--fix").code == 0
    assert branches() == [of_nobody]


def test_doctor_removes_no_branch_if_the_conductor_server_does_not_answer(repository, perago, monkeypatch):
    repository.git("branch", branch := run_branch(str(uuid.uuid4())), "main")
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", "http://127.0.0.1:9/api")
    said = perago("doctor", "--repo", str(repository.repo), *OF_ANY_AGE, "--fix")
    assert said.code == 2
    assert "127.0.0.1:9" in said.err
    assert repository.head(branch) == repository.head()
