"""Random workflows of tasks that write come to the same files by `perago run` and by a worker on Conductor."""

from __future__ import annotations

import os
import random
import shutil
import sys

import pytest

from cli_project import recommended
from servers.conductor_api import fresh
from waiting import wait_for

THERE = f"{fresh('there')}.git"
"""The worker's repository. Workers of other tests on the same server tell theirs by the name alone."""

WORKFLOWS = int(os.environ.get("PERAGO_TEST_RERUN_WORKFLOWS", "0"))
SEEDS = range(WORKFLOWS) if WORKFLOWS else (1, 2)
"""Workflows of modules/cli_random.py: by default a transactional one, one with sub-workflows, and one that is both."""

pytestmark = pytest.mark.long


@pytest.fixture
def files(project):
    """All files of a repository's branch, with their content."""

    def read(repo: str) -> dict[str, str]:
        project.repo = project.path / repo
        return {name: project.show(name) for name in project.git("ls-tree", "-r", "--name-only", "main").split("\n")}

    return read


@pytest.fixture
def followed(perago):
    """Follows a workflow to its end, and does what the messages say where a JOIN has failed it before a retry.

    Not if they say to submit it anew: the server has lost it.
    """

    def follow(workflow_id: str):
        said = perago("watch", workflow_id, "--json")
        for _ in range(9):
            if said.code == 0:
                break
            command, *rest = recommended(said.err)[-1]  # before it, a warning of a busy worker may name `start`
            if command == "submit":
                break
            done = perago(command, *rest, *(["--yes"] if command == "rerun" else []))
            assert done.code == 0, done.err
            said = perago("watch", workflow_id, "--json")
        return said

    return follow


def test_a_workflow_comes_to_the_same_files_here_and_on_a_server(
    perago, project, files, followed, worker_of, conductor, monkeypatch
):
    monkeypatch.setenv("CONDUCTOR_SERVER_URL", conductor.url)
    monkeypatch.delitem(sys.modules, "cli_random", raising=False)
    monkeypatch.setenv("CLI_RANDOM", fresh("random"))
    monkeypatch.setenv("CLI_RANDOM_COUNT", str(max(SEEDS) + 1))
    project.write({"first.txt": "1"})
    there_on_main = ("--repo", THERE, "--branch", "main")
    targets = [f"cli_random:w{seed}" for seed in SEEDS]
    assert perago("register", *targets).code == 0
    assert perago("import", "source", "--repo", THERE).code == 0
    assert perago("register", "cli_transactional").code == 0
    assert perago("import", "source", "--repo", "elsewhere.git").code == 0
    root = str(project.path / "elsewhere")
    beside = worker_of("cli_transactional", "--repo", "elsewhere.git", PERAGO_WORKSPACE_ROOT=root)
    with worker_of("cli_random", "--repo", THERE), beside:  # which gives back what begins and ends these runs
        for target in targets:
            shutil.copytree(project.path / THERE, project.path / "here.git")
            there = followed(perago("submit", target, *there_on_main, "--json").json["workflow_id"])
            here = perago("run", target, "--repo", "here.git", "--branch", "main", "-j", "2")
            assert (there.code, here.code) == (0, 0), f"{there.err}\n{here.err}"
            assert here.json == there.json["output"]["result"]
            assert files("here.git") == files(THERE)
            assert "failed.txt" not in files("here.git")
            shutil.rmtree(project.path / "here.git")
        # As a person, a schedule or an event starts a transactional one on the server: without a commit.
        workspace = {"repository": THERE, "branch": "main"}
        given = {"workspace": workspace, "params": {}}
        ended = followed(conductor.start_workflow(f"{os.environ['CLI_RANDOM']}_1", given))
        assert ended.code == 0, ended.err
        # A run without a change leaves no commit, or a seal of the head if another attempt of its end was handed out.
        newest = perago("log", *there_on_main, "-n", "2", "--json").json
        head = next(entry["commit"] for entry in newest if entry["kind"] != "seal")
        assert ended.json["output"]["workspace"]["ref"] == head


SUBMITTED = 4
"""Times that a workflow is submitted at most, if the server loses it."""


def is_lost(said):
    """Whether a workflow cannot go on, as its message says; see `engines.conductor.again` on what its JOINs do."""
    return said.code != 0 and recommended(said.err)[-1][0] == "submit"


@pytest.fixture
def there(perago, project, worker_of, conductor, monkeypatch, tmp_path, seed):
    """A worker on one random workflow, and the file that lists the tasks of the second era."""
    eras = tmp_path / "eras"
    eras.touch()
    settings = {"CLI_RANDOM": fresh("random"), "CLI_RANDOM_ONLY": str(seed), "CLI_ERAS": str(eras)}
    if seed % 4 > 1:  # of those with and without a transaction
        settings["CLI_RANDOM_SUBS"] = "1"
    monkeypatch.delitem(sys.modules, "cli_random", raising=False)  # which has the names of the test before
    for name, value in {**settings, "CONDUCTOR_SERVER_URL": conductor.url}.items():
        monkeypatch.setenv(name, value)
    project.write({"first.txt": "1"})
    assert perago("register", f"cli_random:w{seed}").code == 0
    assert perago("import", "source", "--repo", "base.git").code == 0
    shutil.copytree(project.path / "base.git", project.path / THERE)
    with worker_of("cli_random", "--repo", THERE, **settings):
        yield eras


def put_back(project, *names):
    for name in names:
        shutil.rmtree(project.path / name, ignore_errors=True)
        shutil.copytree(project.path / "base.git", project.path / name)


def reset(project, repo):
    """The branch of a repository that a worker uses, as it was."""
    project.repo = project.path / repo
    project.git("update-ref", "refs/heads/main", project.git("rev-list", "--max-parents=0", "main"))


def ref_of(task):
    """The commit that a try completed with; None if it did not."""
    return (task.get("outputData") or {}).get("workspace", {}).get("ref")


def as_stored(tasks):
    """Without what Conductor computes anew in each answer."""
    return [{name: value for name, value in task.items() if name != "queueWaitTime"} for task in tasks]


def tries_of(conductor, workflow_id):
    """All tries of a workflow and of its sub-workflows."""
    for task in conductor.tasks(workflow_id):
        yield task
        if task.get("subWorkflowId"):
            yield from tries_of(conductor, task["subWorkflowId"])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rerun_comes_to_what_a_run_from_that_point_would_have_given(
    perago, project, files, followed, there, conductor, seed
):
    chance = random.Random(seed)
    target, on = f"cli_random:w{seed}", ("--branch", "main")

    def submitted():
        for _ in range(SUBMITTED):
            there.write_text("")
            reset(project, THERE)
            workflow_id = perago("submit", target, "--repo", THERE, *on, "--json").json["workflow_id"]
            first = followed(workflow_id)
            if not is_lost(first):
                break
        assert first.code == 0, first.err
        return workflow_id, [task["reference_name"] for task in first.json["tasks"]]

    _, names = submitted()
    for start in [None, *chance.sample(names, 3)]:
        workflow_id, _ = submitted()
        there.write_text("*")
        before = as_stored(conductor.tasks(workflow_id))
        tries = [*tries_of(conductor, workflow_id)]
        known = {(task["taskId"], task["scheduledTime"]) for task in tries}
        made = {ref_of(task) for task in tries}
        said = perago("rerun", workflow_id, *(["--from", start] if start else []), "--yes")
        point = start
        if said.code != 0:
            assert (said.code, as_stored(conductor.tasks(workflow_id))) == (2, before), said.err
            command, *rest = recommended(said.err)[-1]  # before it, a warning of a busy worker may name `start`
            if command == "submit":
                continue  # a JOIN was retried
            assert perago(command, *rest, "--yes").code == 0
            point = rest[rest.index("--from") + 1] if "--from" in rest else None
        again = followed(workflow_id)
        if is_lost(again):
            continue
        assert again.code == 0, again.err
        now = tries_of(conductor, workflow_id)
        # A failed try that the rerun hands out again completes as the one that counts: it makes no commit.
        anew = [
            task for task in now if (task["taskId"], task["scheduledTime"]) not in known and ref_of(task) not in made
        ]
        recomputed = {task["referenceTaskName"] for task in anew}
        assert point is None or not point.startswith("put") or point in recomputed
        there.write_text(" ".join(recomputed))
        put_back(project, "here.git")
        here = perago("run", target, "--repo", "here.git", *on, "-j", "2")
        assert here.code == 0, here.err
        assert here.json == again.json["output"]["result"]
        assert files("here.git") == files(THERE), start
        if point is None:
            continue  # from the beginning is another run here
        there.write_text("")
        put_back(project, "here.git")
        first = perago("run", target, "--repo", "here.git", *on, "-j", "2", "--json")
        there.write_text("*")
        said = perago("run", "--resume", first.json["run_id"], "--from", point, "--yes", "--repo", "here.git")
        assert said.code == 0, said.err
        assert said.json == again.json["output"]["result"]
        assert files("here.git") == files(THERE), point


@pytest.mark.parametrize("seed", SEEDS)
def test_a_workflow_that_was_cancelled_goes_on_to_what_a_run_would_have_given(
    perago, project, files, followed, there, conductor, seed
):
    chance = random.Random(seed)
    target, on = f"cli_random:w{seed}", ("--branch", "main")
    put_back(project, "here.git")
    here = perago("run", target, "--repo", "here.git", *on, "-j", "2", "--json")
    assert here.code == 0, here.err
    count = chance.randrange(len(here.json["tasks"]))
    for _ in range(SUBMITTED):
        reset(project, THERE)
        workflow_id = perago("submit", target, "--repo", THERE, *on, "--json").json["workflow_id"]

        def has_come_so_far(workflow_id=workflow_id):
            found = conductor.workflow(workflow_id)
            done = sum(task["status"] == "COMPLETED" for task in found["tasks"])
            return done >= count or found["status"] != "RUNNING"

        wait_for(has_come_so_far, f"{count} tasks to complete")
        perago("cancel", workflow_id)
        ended = followed(workflow_id)
        if not is_lost(ended):
            break
    assert ended.code == 0, ended.err
    assert ended.json["output"]["result"] == here.json["output"]["result"]
    assert files("here.git") == files(THERE)
