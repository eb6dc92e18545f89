"""Random workflows of tasks that write come to the same files by `perago run` and by a worker on Conductor."""

from __future__ import annotations

import os
import shutil

import pytest

from servers.conductor_api import fresh

WORKFLOWS = 4
"""Those of modules/cli_random.py."""

pytestmark = pytest.mark.long


@pytest.fixture
def files(project):
    """All files of a repository's branch, with their content."""

    def read(repo: str) -> dict[str, str]:
        project.repo = project.path / repo
        return {name: project.show(name) for name in project.git("ls-tree", "-r", "--name-only", "main").split("\n")}

    return read


@pytest.fixture
def followed(perago, conductor):
    """Follows a workflow to its end. One that a JOIN failed at a try whose retry was not scheduled yet goes on."""

    def follow(workflow_id: str):
        said = perago("watch", workflow_id, "--json")
        for _ in range(9):
            tasks = conductor.tasks(workflow_id) if said.code == 1 else []
            if not any((task["taskType"], task["status"]) == ("JOIN", "FAILED") for task in tasks):
                break
            assert perago("retry", workflow_id).code == 0
            said = perago("watch", workflow_id, "--json")
        return said

    return follow


def test_a_workflow_comes_to_the_same_files_here_and_on_a_server(
    perago, project, files, followed, worker_of, conductor, monkeypatch
):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    monkeypatch.setenv("CLI_RANDOM", fresh("random"))
    project.write({"first.txt": "1"})
    there_on_main = ("--repo", "there.git", "--branch", "main")
    targets = [f"cli_random:w{seed}" for seed in range(WORKFLOWS)]
    assert perago("register", *targets).code == 0
    assert perago("import", "source", "--repo", "there.git").code == 0
    assert perago("register", "cli_transactional").code == 0
    assert perago("import", "source", "--repo", "elsewhere.git").code == 0
    root = str(project.path / "elsewhere")
    beside = worker_of("cli_transactional", "--repo", "elsewhere.git", PERAGO_WORKSPACE_ROOT=root)
    with worker_of("cli_random", "--repo", "there.git"), beside:  # which gives back what begins and ends these runs
        for target in targets:
            shutil.copytree(project.path / "there.git", project.path / "here.git")
            there = followed(perago("submit", target, *there_on_main, "--json").json["workflow_id"])
            here = perago("run", target, "--repo", "here.git", "--branch", "main", "-j", "2")
            assert (there.code, here.code) == (0, 0), f"{there.err}\n{here.err}"
            assert here.json == there.json["output"]["result"]
            assert files("here.git") == files("there.git")
            assert "failed.txt" not in files("here.git")
            shutil.rmtree(project.path / "here.git")
        # As a person, a schedule or an event starts a transactional one on the server: without a commit.
        workspace = {"repository": "there.git", "branch": "main"}
        given = {"workspace": workspace, "params": {}}
        ended = followed(conductor.start_workflow(f"{os.environ['CLI_RANDOM']}_1", given))
        assert ended.code == 0, ended.err
        # A run without a change leaves no commit, or a seal of the head if another attempt of its end was handed out.
        newest = perago("log", *there_on_main, "-n", "2", "--json").json
        head = next(entry["commit"] for entry in newest if entry["kind"] != "seal")
        assert ended.json["output"]["workspace"]["ref"] == head
