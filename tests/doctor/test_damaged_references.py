"""The look at references as they lie on disk, while others write and with what lies beside them."""

import os
from pathlib import Path

import pytest

from perago.stores.git.examine.damaged_references import damaged_references
from perago.values.findings import Kind


@pytest.fixture
def references(project):
    """The directory of the references; none of them is damaged."""
    assert list(damaged_references(project.repository)) == []
    return project.repository / "refs"


def damage(references, name):
    (references / name).parent.mkdir(parents=True, exist_ok=True)
    (references / name).write_bytes(b"")


def test_a_reference_that_goes_before_it_is_read_is_none(project, references, monkeypatch):
    staged = references / "perago/staging/one"
    damage(references, "heads/other")
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes((references / "heads/main").read_bytes())
    read_bytes = Path.read_bytes

    def read_late(file):
        staged.unlink(missing_ok=True)
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", read_late)
    gone = [finding.what for finding in damaged_references(project.repository)]
    assert not staged.exists()
    assert gone == ["other"]

    looked_at = []

    def read_gone(file):
        looked_at.append(file)
        file.unlink()
        return read_bytes(file)

    monkeypatch.setattr(Path, "read_bytes", read_gone)
    assert list(damaged_references(project.repository)) == []
    assert references / "heads/main" in looked_at


def test_a_directory_of_references_that_goes_during_the_look_ends_no_look(project, references, monkeypatch):
    damage(references, "one/x")
    damage(references, "two/x")
    scandir = os.scandir

    def list_and_remove_the_other(path):
        other = {references / "one": "two", references / "two": "one"}.get(Path(path))
        if other is not None and (references / other).exists() and Path(path).exists():
            (references / other / "x").unlink()
            (references / other).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_and_remove_the_other)
    found = [finding.what for finding in damaged_references(project.repository)]
    assert found in (["refs/one/x"], ["refs/two/x"])


def test_a_directory_in_the_place_of_a_damaged_branchs_log_ends_no_look(project, references):
    damage(references, "heads/a")
    damage(references, "heads/b/c")
    (project.repository / "logs/refs/heads/a").mkdir()
    (project.repository / "logs/refs/heads/b").write_text("no directory")
    found = list(damaged_references(project.repository))
    assert sorted(finding.what for finding in found) == ["a", "b/c"]
    assert all(finding.kind is Kind.DAMAGED_BRANCH and "fsck --lost-found" in finding.why for finding in found)


def test_an_id_in_capitals_is_one_as_it_is_to_git(project, references):
    head = project.git("rev-parse", "main")
    (references / "heads/main").write_text(head.upper() + "\n")
    assert head.upper() != head
    assert project.git("rev-parse", "main") == head
    assert list(damaged_references(project.repository)) == []
