"""`perago run --resume ID --from TASK`: a recorded run of a workflow, rerun from a given task."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys

import pytest

WORDS = ("--param", 'words=["a","b"]')


@pytest.fixture
def first(perago, project, monkeypatch, tmp_path):
    """Runs a workflow on a new repository, in the first era; its id and reference names."""
    monkeypatch.setenv("CLI_ERAS", str(tmp_path / "eras"))
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "open"))
    (tmp_path / "open").touch()
    monkeypatch.setenv("PERAGO_REPO", "data.git")
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "base.git").code == 0

    def run(*arguments: str, code: int = 0) -> tuple[str, list[str]]:
        (tmp_path / "eras").write_text("")
        shutil.rmtree(project.repo, ignore_errors=True)
        shutil.copytree(project.path / "base.git", project.repo)
        said = perago("run", *arguments, "--branch", "main", "--json")
        assert said.code == code, said.err
        return said.json["run_id"], [task["reference_name"] for task in said.json["tasks"]]

    return run


def replaced_in(said) -> list[str]:
    return re.findall(r"^  (\S+): commit \w+ on branch main$", said.err, re.MULTILINE)


def started_in(said) -> set[str]:
    return set(re.findall(r"^(\S+)(?: \(.*\))?: started$", said.err, re.MULTILINE))


def test_a_completed_run_runs_again_from_a_task_on_and_keeps_what_was_before(perago, project, first):
    run_id, _ = first("cli_workflow:joined")
    before = project.head()
    said = perago("run", "--resume", run_id, "--from", "cli_list", "--yes", "--json")
    assert said.code == 0, said.err
    assert replaced_in(said) == ["cli_list"]
    assert started_in(said) == {"cli_list"}
    assert said.json["output"]["result"] == {"names": ["a.txt", "b.txt", "c.txt", "d.txt", "first.txt"]}
    assert project.head() != before
    (newest,) = perago("log", "--branch", "main", "-n", "1", "--json").json
    assert newest["stamp"]["abandoned"] == [before]


def test_nothing_is_replaced_without_consent(perago, project, first):
    run_id, _ = first("cli_workflow:joined")
    before = project.head()
    listed = perago("runs", "--json").json
    said = perago("run", "--resume", run_id, "--from", "cli_list")
    assert said.code == 2
    assert "cli_list: commit" in said.err
    assert "Add --yes" in said.err
    assert (project.head(), perago("runs", "--json").json) == (before, listed)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        ("d", "has not reached task 'd'"),
        ("cli_put_2", "other tasks run beside 'cli_put_2'. --from parallel runs all of them again"),
    ],
)
def test_a_task_that_a_run_cannot_begin_at_is_refused_with_the_nearest_that_it_can(perago, first, start, text):
    run_id, _ = first("cli_workflow:joined")
    said = perago("run", "--resume", run_id, "--from", start, "--yes")
    assert said.code == 2
    assert text in " ".join(said.err.split())


def test_a_map_runs_again_as_a_whole(perago, project, first):
    run_id, names = first("cli_workflow:put_all", *WORDS)
    refused = " ".join(perago("run", "--resume", run_id, "--from", names[1], "--yes").err.split())
    assert "--from cli_put runs all of them again" in refused
    said = perago("run", "--resume", run_id, "--from", "cli_put", "--yes", "--json")
    assert said.code == 0, said.err
    assert [task["tries"] for task in said.json["tasks"]] == [1] * len(names)
    assert project.show("names.txt") == "a b first.txt"


def test_a_failed_run_can_begin_again_before_the_task_that_failed(perago, project, first, monkeypatch, tmp_path):
    monkeypatch.setenv("CLI_GATE", str(tmp_path / "gate"))
    run_id, _ = first("cli_workflow:outer", *WORDS, "--retries", "0", "-j", "1", code=1)
    (tmp_path / "gate").touch()
    said = perago("run", "--resume", run_id, "--from", "parallel", "--yes", "--json")
    assert said.code == 0, said.err
    assert replaced_in(said) == ["inner/cli_write"]
    assert {task["reference_name"]: task["tries"] for task in said.json["tasks"]} == {
        "cli_length": 1,
        "inner": 1,
        "inner/cli_write": 1,
        "inner/cli_gate": 1,
        "cli_read": 1,
    }


def test_a_run_begins_again_within_a_sub_workflow_and_goes_on_behind_it(perago, project, first):
    run_id, _ = first("cli_workflow:nested", *WORDS)
    before = project.head()
    said = perago("run", "--resume", run_id, "--from", "inner/cli_gate", "--json")
    assert said.code == 0, said.err
    assert started_in(said) == {"inner/cli_gate", "cli_read"}
    assert [(task["reference_name"], task["status"]) for task in said.json["tasks"]] == [
        ("inner", "COMPLETED"),
        ("inner/cli_write", "COMPLETED"),
        ("inner/cli_gate", "COMPLETED"),
        ("cli_read", "COMPLETED"),
    ]
    assert "inner: COMPLETED in" in said.err
    assert project.head() == before
    again = perago("run", "--resume", run_id, "--from", "inner", "--yes", "--json")
    assert (again.code, replaced_in(again)) == (0, ["inner/cli_write"]), again.err
    assert project.head() != before


def test_options_that_say_nothing_of_it_are_refused(perago, first):
    run_id, _ = first("cli_workflow:joined")
    for arguments, text in (
        (("cli_workflow:joined", "--from", "cli_list"), "Name the run with --resume"),
        (("--resume", run_id, "--yes"), "--yes is for --from"),
        (("--resume", run_id, "--from", "cli_list", "--onto-head"), "Leave one of them out"),
    ):
        said = perago("run", *arguments)
        assert (said.code, text in " ".join(said.err.split())) == (2, True), said.err


SEEDS = range(int(os.environ.get("PERAGO_TEST_FROM_WORKFLOWS", "2")))
"""Workflows of modules/cli_random.py; every other one is transactional."""


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_random_workflows_come_to_what_a_run_from_that_point_would_have_given(
    perago, project, first, monkeypatch, tmp_path, seed
):
    monkeypatch.setenv("CLI_RANDOM_SUBS", "1")
    monkeypatch.setenv("CLI_RANDOM_COUNT", str(len(SEEDS)))
    monkeypatch.delitem(sys.modules, "cli_random", raising=False)
    target = f"cli_random:w{seed}"

    def outcome(said) -> tuple[object, dict[str, str]]:
        assert said.code == 0, said.err
        names = project.git("ls-tree", "-r", "--name-only", "main").splitlines()
        return said.json["output"]["result"], {name: project.show(name) for name in names}

    _, names = first(target)
    for start in random.Random(seed).sample(names, min(3, len(names))):
        run_id, _ = first(target)
        (tmp_path / "eras").write_text("*")
        again_from = ("run", "--resume", run_id, "--yes", "--json", "--from")
        before = perago("runs", "--json").json
        said = perago(*again_from, start)
        if said.code == 2:
            assert perago("runs", "--json").json == before
            (nearest,) = re.findall(r"--from (\S+) runs all", " ".join(said.err.split()))
            said = perago(*again_from, nearest)
        came = outcome(said)
        (tmp_path / "eras").write_text(" ".join(started_in(said)))
        shutil.rmtree(project.repo)
        shutil.copytree(project.path / "base.git", project.repo)
        assert came == outcome(perago("run", target, "--branch", "main", "--json")), start
