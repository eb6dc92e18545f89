"""`perago doctor` as a command: what it prints, and its exit codes."""

import json
import subprocess

import pytest

from perago.worker.body.sandbox import ability


def test_it_tells_people_what_it_is_how_old_how_large_and_why(project):
    project.halted_run("kill", "stage.completed", "one")
    arguments = ("doctor", "--repo", str(project.repository), "--workspace-root", str(project.root))
    looked = project.perago(*arguments)
    [directory] = project.root.iterdir()
    lines = looked.out.splitlines()
    [at] = [number for number, line in enumerate(lines) if line.startswith(f"attempt directory: {directory} (")]
    assert lines[at].endswith(" s old, 4.0 MB)")
    assert lines[at + 1].startswith("    its owner, process ")
    assert lines[at + 1].endswith(", is dead.")
    assert looked.err.startswith("Sandbox: this host can")
    assert looked.err.endswith("\nFound 3 problems. --fix fixes 3 of them.\n")
    fixed = project.perago(*arguments, "--fix")
    assert fixed.out.count("    fixed\n") == 3
    assert fixed.code == 0
    assert fixed.err.endswith("\nFixed 3 problems. Nothing is wrong.\n")
    clean = project.perago(*arguments)
    assert (clean.code, clean.out) == (0, "")
    assert clean.err.endswith("\nNothing is wrong.\n")


def test_it_says_as_json_whether_all_is_well(project):
    said = project.doctor()
    assert json.loads(said.out) == {"clean": True, "findings": [], "sandbox": ability()}


def test_without_a_repository_it_looks_at_runs_and_workspaces(project):
    project.halted_run("kill", "body.started", "one")
    said = project.perago("doctor", "--json")
    assert (said.code, said.kinds) == (1, ["attempt_directory"])


def test_what_was_asked_wrongly_is_exit_code_2(project):
    for arguments, told in (
        (("--older-than", "soon"), "--older-than must be a duration such as"),
        (("--workspace-root", "nowhere"), "which does not exist"),
        (("--repo", "nowhere.git"), "there is no repository at"),
    ):
        said = project.perago("doctor", *arguments)
        assert said.code == 2
        assert told in said.err


def test_what_cannot_be_mended_is_told_and_counts(project):
    project.halted_run("kill", "materialize.completed", "one")
    [directory] = project.root.iterdir()
    busy = directory / "workspace" / "busy"
    busy.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", busy], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs root, with the right to mount a tmpfs")
    try:
        said = project.doctor("--fix")
    finally:
        subprocess.run(["umount", "-l", next(project.root.glob("*/workspace/busy"))], check=True)
    found = said.only("attempt_directory")
    assert (said.code, found["fixed"]) == (1, False)
    assert "cannot remove all of directory" in found["failure"]
    assert project.doctor("--fix").code == 0
    assert list(project.root.iterdir()) == []


def test_what_was_mended_is_told_where_the_rest_cannot_be_looked_at(project):
    project.halted_run("kill", "stage.completed", "one")
    [directory] = project.root.iterdir()
    (project.repository / "refs/tags").mkdir(exist_ok=True)
    (project.repository / "refs/tags/round").write_text("ref: refs/tags/round\n")
    looked = project.doctor()
    assert (looked.code, json.loads(looked.out)["error"]["exit_code"]) == (2, 2)
    assert "attempt directory" not in looked.err
    mended = project.doctor("--fix")
    assert (mended.code, json.loads(mended.out)["error"]["exit_code"]) == (1, 1)
    assert f"attempt directory: {directory} (" in mended.err
    assert "    fixed\n" in mended.err
    assert not directory.exists()
