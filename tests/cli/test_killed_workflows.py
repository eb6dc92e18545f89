"""Random workflows under `kill -9`: resumed to the end, they come to what an undisturbed run comes to, once."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections import Counter

import pytest

from servers.machine import slowness

WORKFLOWS = int(os.environ.get("PERAGO_TEST_KILLED_WORKFLOWS", "4"))
"""Those of modules/cli_random.py; every other pair has sub-workflows."""

KILLS = 6
"""Of each workflow."""

pytestmark = pytest.mark.long


@pytest.fixture
def base(project, perago):
    """Two equal repositories with one commit."""
    project.write({"first.txt": "1"})
    assert perago("import", "source", "--repo", "calm.git").code == 0
    shutil.copytree(project.path / "calm.git", project.path / "killed.git")
    return project


def outcome(project, repo):
    """All files of the branch, with their content."""
    project.repo = project.path / repo
    names = project.git("ls-tree", "-r", "--name-only", "main").split("\n")
    return {name: project.show(name) for name in names}


def newest_run(perago):
    """The run to resume; None if there is none, or it has ended well."""
    runs = perago("runs", "--repo", "killed.git", "--json").json
    return runs[0] if runs else None


@pytest.mark.parametrize("seed", range(WORKFLOWS))
@pytest.mark.timeout(900)
def test_a_workflow_that_is_killed_and_resumed_comes_to_the_same(base, perago, seed):
    chance = random.Random(seed)
    settings = {"CLI_RANDOM_COUNT": str(WORKFLOWS), **({"CLI_RANDOM_SUBS": "1"} if seed % 4 > 1 else {})}
    fresh = ("run", f"cli_random:w{seed}", "--branch", "main", "-j", "2")
    calm = base.run(*fresh, "--repo", "calm.git", env=settings)
    assert calm.code == 0, calm.err
    command, killed = fresh, 0
    while True:
        seconds = chance.uniform(0.2, 2.0) * min(slowness(), 4.0) if killed < KILLS else 600.0
        with base.start(*command, "--repo", "killed.git", env=settings) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
        run = newest_run(perago)
        if run is not None and run["status"] == "COMPLETED":  # perhaps killed right after it
            break
        assert process.returncode == -9, err
        command = fresh if run is None else ("run", "--resume", run["run_id"], "-j", "2")
    if process.returncode == 0:
        assert json.loads(out) == calm.json
    assert outcome(base, "killed.git") == outcome(base, "calm.git")
    entries = perago("log", "--repo", "killed.git", "--json", "-n", "500").json
    published = Counter(
        entry["stamp"].get("path") or entry["stamp"]["reference_task_name"]
        for entry in entries
        if entry["kind"] == "publication"
    )
    assert published
    assert set(published.values()) == {1}, published
