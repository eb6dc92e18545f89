"""`perago run` where the disk is full: a clear error, and nothing changed."""

from __future__ import annotations

import pytest

from small_disk import small_disk_at

REPO = ("--repo", "data.git", "--branch", "main")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    with small_disk_at(tmp_path, "1m") as path:
        yield path


def test_a_disk_that_fills_while_the_workspace_is_laid_out_fails_the_run(repository, perago, small_disk):
    repository.write({"big.bin": "x" * 2 * 1024 * 1024})
    perago("import", "source", "--repo", "data.git")
    head = repository.head()
    said = perago("run", "cli_bodies:write", *REPO, "--workspace-root", str(small_disk), "--json")
    assert said.code == 1
    assert "No space left on device" in said.json["reason"]
    assert repository.head() == head
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_under_the_body_fails_the_run(repository, perago, small_disk):
    head = repository.head()
    (repository.path / "p.json").write_text('{"text": "' + "x" * 2 * 1024 * 1024 + '"}')
    said = perago("run", "cli_bodies:write", "--params", "@p.json", *REPO, "--workspace-root", str(small_disk))
    assert said.code == 1
    assert "No space left on device" in said.err
    assert repository.head() == head
    assert list(small_disk.iterdir()) == []
