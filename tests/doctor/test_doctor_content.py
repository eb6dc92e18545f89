"""Unreferenced large files, and referenced content that is missing or damaged."""

import hashlib
import re
import subprocess

import pytest

from doctor_support import OF_ANY_AGE, make_old
from perago.stores.git.lfs import LfsStore, Pointer
from perago.stores.git.repository import BareRepository

FIRST = b"first".ljust(2 << 20, b".")
SECOND = b"second".ljust(2 << 20, b".")


def object_path(project, content):
    return LfsStore(BareRepository(project.repository)).path_of(hashlib.sha256(content).hexdigest())


def drop_by_hand(project):
    """A commit with a second large file, which is taken off its branch again."""
    first = project.git("rev-parse", "main")
    second = project.commit({"small.txt": b"small", "second.bin": SECOND})
    project.git("update-ref", "refs/heads/main", first)
    for content in (FIRST, SECOND):
        make_old(object_path(project, content))
    return second


def forget(project):
    project.git("reflog", "expire", "--expire=all", "--all")


def test_a_large_file_that_nothing_names_is_found_and_removed_and_no_other(project):
    drop_by_hand(project)
    assert project.doctor().findings == []  # the reflog names it: who dropped the commit can still take it back
    forget(project)
    looked = project.doctor()
    found = looked.only("unreferenced_large_file")
    assert (looked.code, found["size"]) == (1, 2 << 20)
    assert found["what"] == str(object_path(project, SECOND).relative_to(project.repository))
    assert project.doctor("--fix").code == 0
    assert project.large_files() == {object_path(project, FIRST)}
    assert project.doctor("--deep").findings == []


def test_whatever_names_a_large_file_keeps_it(project):
    second = drop_by_hand(project)
    forget(project)
    for name in ("refs/tags/light", "refs/perago/staging/x", "refs/elsewhere/x"):
        project.git("update-ref", name, second)
        assert "unreferenced_large_file" not in project.doctor("--fix").kinds, name
        project.git("update-ref", "-d", name)
        forget(project)
    project.git("tag", "-a", "-m", "annotated", "heavy", second)
    assert project.doctor("--fix").findings == []
    project.git("tag", "-d", "heavy")
    assert project.doctor().kinds == ["unreferenced_large_file"]


def test_a_young_large_file_may_be_a_running_attempts(project):
    drop_by_hand(project)
    forget(project)
    object_path(project, SECOND).touch()
    assert project.doctor("--fix").findings == []
    assert object_path(project, SECOND).exists()


def test_an_attempt_that_uses_an_old_large_file_again_keeps_it(project):
    drop_by_hand(project)
    forget(project)
    store = LfsStore(BareRepository(project.repository))
    pointer = Pointer(hashlib.sha256(SECOND).hexdigest(), len(SECOND))
    assert store.reuse(pointer)
    assert not store.remove_unreferenced(pointer.sha256, object_path(project, SECOND).stat().st_mtime)
    assert object_path(project, SECOND).exists()


def test_nothing_is_taken_for_unreferenced_where_not_all_can_be_read(project):
    drop_by_hand(project)
    forget(project)
    blob = project.git("rev-parse", "main:first.bin")
    (project.repository / "objects" / blob[:2] / blob[2:]).unlink()
    looked = project.doctor("--fix")
    assert (looked.code, looked.kinds) == (1, ["damaged_object"])
    assert "'first.bin' of commit" in looked.findings[0]["what"]
    assert object_path(project, SECOND).exists()


def test_a_large_file_that_is_missing_is_told_with_its_path_and_the_mend(project):
    path = object_path(project, FIRST)
    path.unlink()
    looked = project.doctor("--fix")
    found = looked.only("missing_large_file")
    assert (looked.code, found["fixable"], found["size"]) == (1, False, 2 << 20)
    assert found["what"] == f"'first.bin' of commit {project.git('rev-parse', 'main')[:12]}"
    assert str(path) in found["why"]
    assert "lfs fetch" in found["why"]


def test_a_large_file_cut_short_is_always_seen_and_another_content_only_by_a_deep_look(project):
    path = object_path(project, FIRST)
    path.chmod(0o644)
    path.write_bytes(FIRST[:-1] + b"!")
    assert project.doctor().findings == []
    deep = project.doctor("--deep")
    assert (deep.code, deep.kinds) == (1, ["damaged_large_file"])
    assert "sha256" in deep.findings[0]["why"]
    path.write_bytes(FIRST[:-1])
    assert "has 2097151 bytes instead of 2097152" in project.doctor().only("damaged_large_file")["why"]


def amend(project, change):
    """Write the newest commit anew with another message."""
    message = change(project.git("show", "-s", "--format=%B", "main"))
    tree, parent = project.git("rev-parse", "main^{tree}"), project.git("rev-parse", "main^")
    commit = project.git("commit-tree", tree, "-p", parent, "-m", message)
    project.git("update-ref", "refs/heads/main", commit)
    return commit


def test_a_stamp_that_cannot_be_read_is_told(project):
    assert project.perago(*project.run_arguments("one")).code == 0
    assert project.doctor().findings == []
    commit = amend(project, lambda message: message.replace("Perago-Task-Id:", "Perago-Task-Ident:"))
    looked = project.doctor("--fix")
    assert (looked.code, looked.kinds) == (1, ["unreadable_stamp"])
    assert commit[:12] in looked.findings[0]["what"]


def test_a_stamp_that_was_copied_is_a_note_and_no_fault(project):
    assert project.perago(*project.run_arguments("one")).code == 0
    published = project.git("rev-parse", "main")
    tree, message = project.git("rev-parse", "main^{tree}"), project.git("show", "-s", "--format=%B", "main")
    copied = project.git("commit-tree", tree, "-p", published, "-m", message)
    other = project.git("commit-tree", project.git("rev-parse", "main^^{tree}"), "-p", copied, "-m", message)
    project.git("update-ref", "refs/heads/main", other)
    looked = project.doctor()
    assert (looked.code, looked.kinds) == (0, ["stamp_that_does_not_count"] * 2)
    assert all(finding["note"] for finding in looked.findings)


def test_a_message_that_speaks_of_a_trailer_carries_no_stamp(project):
    tree, head = project.git("rev-parse", "main^{tree}"), project.git("rev-parse", "main")
    commit = project.git("commit-tree", tree, "-p", head, "-m", "why\n\nPerago-Task: is a trailer")
    project.git("update-ref", "refs/heads/main", commit)
    assert project.doctor(*OF_ANY_AGE).findings == []


@pytest.mark.parametrize("content", [b"", b"\0" * 41, b"0" * 40 + b"\n", b"garbage\n"])
def test_a_branch_whose_file_is_damaged_is_found_and_put_back_by_the_command_that_is_shown(project, content):
    head = project.git("rev-parse", "main")
    make_old(object_path(project, FIRST))
    (project.repository / "refs/heads/main").write_bytes(content)
    looked = project.doctor("--fix")
    found = looked.only("damaged_branch")
    assert (looked.code, found["what"], found["fixable"]) == (1, "main", False)
    assert f"last commit is {head}, according to {project.repository}/logs/refs/heads/main" in found["why"]
    subprocess.run(re.findall("`(.*?)`", found["why"])[-1], shell=True, check=True, timeout=60)
    assert project.git("rev-parse", "main") == head
    assert project.doctor().findings == []


def test_a_damaged_branch_without_a_log_is_looked_for_among_what_nothing_names(project):
    head = project.git("rev-parse", "main")
    make_old(object_path(project, FIRST))
    (project.repository / "logs/refs/heads/main").unlink()
    (project.repository / "logs/HEAD").unlink()
    (project.repository / "refs/heads/main").write_bytes(b"")
    looked = project.doctor("--fix")
    shown, put_back = re.findall("`(.*?)`", looked.only("damaged_branch")["why"])
    assert project.large_files() == {object_path(project, FIRST)}  # it may be of that branch
    lost = subprocess.run(shown, shell=True, check=False, timeout=60, capture_output=True, text=True)
    assert f"dangling commit {head}" in lost.stdout
    subprocess.run(put_back.replace("COMMIT", head), shell=True, check=True, timeout=60)
    assert project.doctor().findings == []


def test_a_damaged_head_is_found_and_put_back_by_the_command_that_is_shown(project):
    (project.repository / "HEAD").write_bytes(b"")
    looked = project.doctor("--fix")
    found = looked.only("damaged_reference")
    assert (looked.code, looked.kinds, found["what"]) == (1, ["damaged_reference"], "HEAD")
    (command,) = re.findall("`(.*?)`", found["why"])
    subprocess.run(command, shell=True, check=True, timeout=60)
    assert project.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert project.doctor().findings == []
