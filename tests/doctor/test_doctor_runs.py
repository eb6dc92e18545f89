"""The doctor finds what killed runs have left, and nothing of living ones. The kills are real."""

import pytest

from doctor_support import OF_ANY_AGE, go_on

RUN_AND_DIRECTORY = ["attempt_directory", "killed_run"]
LEFT_AT = {
    "materialize.completed": RUN_AND_DIRECTORY,
    "diff.completed": RUN_AND_DIRECTORY,
    "stage.completed": [*RUN_AND_DIRECTORY, "staged_commit"],
    "publish.completed": [*RUN_AND_DIRECTORY, "staged_commit"],
    "report.started": ["killed_run"],
    "report.completed": [],
}


@pytest.mark.parametrize("boundary", LEFT_AT)
def test_what_a_killed_run_left_is_found_and_mended(project, boundary):
    project.halted_run("kill", boundary, "one")
    before = project.everything()
    looked = project.doctor()
    assert looked.kinds == LEFT_AT[boundary]
    assert looked.code == (1 if LEFT_AT[boundary] else 0), looked.err
    assert project.everything() == before
    mended = project.doctor("--fix")
    assert (mended.code, mended.kinds) == (0, LEFT_AT[boundary])
    assert all(finding["fixed"] for finding in mended.findings)
    assert list(project.root.iterdir()) == []
    assert project.git("for-each-ref", "refs/perago") == ""
    assert (project.doctor().code, project.doctor().findings) == (0, [])


def test_a_run_that_the_doctor_recorded_as_failed_can_be_resumed(project):
    project.halted_run("kill", "publish.completed", "one")
    published = project.git("rev-parse", "main")
    run = project.doctor("--fix").only("killed_run")["what"]
    listed = project.perago("runs", "--repo", str(project.repository))
    assert "FAILED" in listed.out
    assert "its process died" in listed.out
    resumed = project.perago("run", "--resume", run, "--repo", str(project.repository), "--json")
    assert resumed.code == 0, resumed.err
    assert f'"ref": "{published}"' in resumed.out


@pytest.mark.parametrize(
    "boundary", ["materialize.completed", "body.started", "stage.progress", "stage.completed", "publish.completed"]
)
def test_nothing_of_a_living_run_is_found_or_touched(project, boundary):
    process = project.halted_run("wait", boundary, "one")
    before = project.everything()
    looked = project.doctor(*OF_ANY_AGE, "--fix")
    assert (looked.code, looked.findings) == (0, [])
    assert project.everything() == before
    ended = go_on(process)
    assert ended.code == 0, ended.err
    assert project.git("show", "main:small.txt") == "one"
    assert project.doctor("--deep").findings == []


def test_a_dead_run_is_mended_while_another_lives(project):
    project.halted_run("kill", "stage.completed", "dead")
    living = project.halted_run("wait", "stage.completed", "alive")  # a run that begins removes dead directories
    mended = project.doctor("--fix")
    assert (mended.code, mended.kinds) == (0, ["killed_run", "staged_commit"])
    assert len(list(project.root.iterdir())) == 1
    assert go_on(living).code == 0
    assert project.git("show", "main:small.txt") == "alive"


def test_large_files_that_a_killed_run_stored_are_found_when_they_are_old(project):
    before = project.large_files()
    project.halted_run("kill", "stage.progress", "one")
    assert project.doctor().kinds == ["attempt_directory", "killed_run"]
    assert set(project.doctor(*OF_ANY_AGE, "--fix").kinds) == {
        "attempt_directory",
        "killed_run",
        "temporary_file",  # a git object or two that had no names yet
        "unreferenced_large_file",
    }
    assert project.large_files() == before
    assert project.doctor(*OF_ANY_AGE).findings == []


@pytest.mark.parametrize("what", ["begin_run", "end_run"])
def test_records_that_a_killed_process_was_writing_are_swept(project, what):
    project.busy("kill", what, project.runs)
    expected = ["run_leftover"] if what == "begin_run" else ["killed_run", "run_leftover"]
    looked = project.doctor()
    assert (looked.code, looked.kinds) == (1, expected)
    assert "is dead" in looked.only("run_leftover")["why"]
    assert project.doctor("--fix").code == 0
    assert project.doctor().findings == []


@pytest.mark.parametrize("what", ["begin_run", "end_run"])
def test_records_that_a_living_process_is_writing_are_left_alone(project, what):
    process = project.busy("wait", what, project.runs)
    looked = project.doctor(*OF_ANY_AGE, "--fix")
    assert (looked.code, looked.findings) == (0, [])
    assert process.poll() is None
    leftovers = [path for path in project.runs.rglob(".*") if path.name != ".lock"]
    assert leftovers


def test_a_record_that_cannot_be_read_is_told_and_left(project):
    assert project.perago(*project.run_arguments("one")).code == 0
    [record] = project.runs.glob("*/run.json")
    record.write_text("{")
    looked = project.doctor("--fix")
    assert (looked.code, looked.kinds) == (1, ["unreadable_run"])
    assert looked.only("unreadable_run")["fixable"] is False
    assert record.read_text() == "{"
