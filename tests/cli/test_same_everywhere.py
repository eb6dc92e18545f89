"""Random workflows of tasks that write come to the same files by `perago run` and by a worker on Conductor."""

from __future__ import annotations

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
def submitted(perago, conductor):
    """Submits a workflow and watches it. One that a JOIN failed at a try whose retry was not scheduled yet goes on."""

    def submit(*arguments: str):
        said = perago("submit", *arguments, "--watch", "--json")
        for _ in range(9):
            tasks = conductor.tasks(said.json["workflow_id"]) if said.code == 1 else []
            if not any((task["taskType"], task["status"]) == ("JOIN", "FAILED") for task in tasks):
                break
            assert perago("retry", said.json["workflow_id"]).code == 0
            said = perago("watch", said.json["workflow_id"], "--json")
        return said

    return submit


def test_a_workflow_comes_to_the_same_files_here_and_on_a_server(
    perago, project, files, submitted, worker_of, conductor, monkeypatch
):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    monkeypatch.setenv("CLI_RANDOM", fresh("random"))
    project.write({"first.txt": "1"})
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
            there = submitted(target, "--repo", "there.git", "--branch", "main")
            here = perago("run", target, "--repo", "here.git", "--branch", "main", "-j", "2")
            assert (there.code, here.code) == (0, 0), f"{there.err}\n{here.err}"
            assert here.json == there.json["output"]["result"]
            assert files("here.git") == files("there.git")
            assert "failed.txt" not in files("here.git")
            shutil.rmtree(project.path / "here.git")
