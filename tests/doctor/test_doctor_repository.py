"""Leftovers in a repository: those of killed processes are removed, those of living ones stay."""

import os

import pytest

from doctor_support import AGED, OF_ANY_AGE, go_on, make_old
from perago.engines.local import LocalEngine
from perago.stores.git.provider import runs_in
from perago.values.models import RuntimeTaskResult


def lock_of_main(project):
    return project.repository / "refs/heads/main.lock"


# ---------------------------------------------------------------- branches of transactional runs


def test_the_branch_of_a_run_is_found_by_an_age_of_its_own(project):
    engine = LocalEngine(runs_in(project.repository))
    with engine.start_run(target="t", task_name="t", input_data={}) as run:
        engine.report_result(run.attempt, RuntimeTaskResult("COMPLETED", output={"result": {}}))
    branch = f"perago-run-20260101t000000z-{run.run_id}-0"
    project.git("branch", branch, "main")
    assert project.doctor(*OF_ANY_AGE).findings == []
    age = ("--runs-older-than", "0.001s")
    looked = project.doctor(*age)
    found = looked.only("run_branch")
    assert (looked.code, found["what"], found["fixable"]) == (1, branch, True)
    assert project.doctor(*age, "--fix").code == 0
    assert project.git("branch", "--list", "--format=%(refname:short)") == "main"
    refused = project.doctor("--runs-older-than", "soon")
    assert (refused.code, "--runs-older-than must be a duration" in refused.err) == (2, True)


# ---------------------------------------------------------------- locks


def test_the_lock_of_a_killed_git_is_found_once_it_is_old(project):
    process = project.git_with_lock()
    process.kill()
    process.wait()
    assert project.doctor().findings == []
    locks = [project.repository / "HEAD.lock", lock_of_main(project)]
    for lock in locks:
        make_old(lock, 90)
    looked = project.doctor()
    assert (looked.code, looked.kinds) == (1, ["lock", "lock"])
    for lock, found in zip(locks, looked.findings, strict=True):
        assert (found["what"], found["fixable"]) == (str(lock), True)
        assert 89 < found["age_seconds"] < 120
    assert project.doctor("--fix").code == 0
    assert not lock_of_main(project).exists()
    project.git("update-ref", "refs/heads/main", project.git("rev-parse", "main"))


def test_the_lock_of_a_living_git_stays_however_old_it_is(project):
    process = project.git_with_lock()
    for lock in (project.repository / "HEAD.lock", lock_of_main(project)):
        make_old(lock)
    looked = project.doctor(*OF_ANY_AGE, "--fix")
    assert (looked.code, looked.findings) == (0, [])
    out, err = process.communicate("commit\n", timeout=30)
    assert (process.returncode, out) == (0, "commit: ok\n"), err


@pytest.mark.parametrize("name", ["refs/heads/main.lock", "config.lock", "objects/info/commit-graph.lock"])
def test_a_lock_that_any_process_has_open_stays(project, name):
    process = project.busy("wait", "keep_open", project.repository / name)
    make_old(project.repository / name)
    assert project.doctor(*OF_ANY_AGE, "--fix").findings == []
    process.kill()
    process.wait()
    assert project.doctor("--fix").only("lock")["fixed"] is True
    assert not (project.repository / name).exists()


def test_a_publication_that_was_killed_is_found_and_cleared_up(project):
    project.busy("kill", "move_reference", project.repository)
    looked = project.doctor()
    assert looked.kinds == ["unfinished_publication"]
    assert looked.only("unfinished_publication")["what"] == "refs/heads/main"
    assert project.doctor("--fix").code == 0
    assert not lock_of_main(project).exists()
    assert project.doctor().findings == []


def test_a_publication_under_way_is_left_alone(project):
    process = project.busy("wait", "move_reference", project.repository)
    make_old(lock_of_main(project))
    assert project.doctor(*OF_ANY_AGE, "--fix").findings == []
    assert lock_of_main(project).exists()
    assert go_on(process).code == 0


# ---------------------------------------------------------------- temporary files


def temporary(project, name):
    path = project.repository / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    "name", ["objects/tmp_obj_x", "objects/ab/tmp_obj_x", "objects/pack/tmp_pack_x", "objects/pack/.tmp-1-pack-x.pack"]
)
def test_what_killed_processes_were_writing_goes_when_it_is_old(project, name):
    path = temporary(project, name)
    process = project.busy("wait", "keep_open", path)
    make_old(path)
    assert project.doctor(*OF_ANY_AGE, "--fix").findings == []
    process.kill()
    process.wait()
    path.write_bytes(b"x" * 100)
    assert project.doctor("--fix").findings == []
    make_old(path)
    found = project.doctor("--fix").only("temporary_file")
    assert (found["what"], found["size"], found["fixed"]) == (str(path), 100, True)
    assert not path.exists()


def test_a_pack_that_never_got_its_index_goes_and_whole_packs_stay(project):
    project.git("gc", "-q")
    [whole] = (project.repository / "objects/pack").glob("*.pack")
    half = whole.with_name(f"pack-{'0' * 40}.pack")
    half.write_bytes(b"PACK")
    for path in (half, whole):
        make_old(path)
    assert project.doctor("--fix").only("temporary_file")["what"] == str(half)
    assert not half.exists()
    assert whole.exists()


def test_a_large_file_half_stored_goes_unless_its_owner_lives(project):
    path = temporary(project, "lfs/tmp/host-1-abcdefgh")
    process = project.busy("wait", "lock_file", path)
    make_old(path)
    assert project.doctor(*OF_ANY_AGE, "--fix").findings == []
    process.kill()
    process.wait()
    assert project.doctor("--fix").only("temporary_file")["fixed"] is True
    assert not path.exists()


# ---------------------------------------------------------------- staged commits nobody knows


def test_a_staged_commit_of_an_unknown_attempt_goes_by_its_age(project):
    project.halted_run("kill", "stage.completed", "one")
    for run in project.runs.glob("*-*"):
        for path in run.iterdir():
            path.unlink()
        run.rmdir()
    assert "staged_commit" not in project.doctor().kinds
    found = project.doctor(*OF_ANY_AGE, "--fix").only("staged_commit")
    assert found["what"].startswith("refs/perago/staging/")
    assert found["fixed"] is True
    assert project.git("for-each-ref", "refs/perago") == ""


def test_other_references_are_never_touched(project):
    head = project.git("rev-parse", "main")
    for name in ("refs/perago/other", "refs/elsewhere/staging", "refs/tags/t"):
        project.git("update-ref", name, head)
    before = project.git("for-each-ref")
    assert project.doctor(*OF_ANY_AGE, "--fix").findings == []
    assert project.git("for-each-ref") == before


def test_what_is_not_there_is_fine_and_what_is_not_known_is_left(project):
    (project.root / "notes").mkdir()
    (project.repository / "notes.txt").write_text("mine")
    os.utime(project.repository / "notes.txt", (0, 0))
    assert project.doctor(*OF_ANY_AGE, "--fix", "--deep").findings == []
    assert (project.root / "notes").is_dir()
    assert (project.repository / "notes.txt").exists()
    assert AGED > 86_400
