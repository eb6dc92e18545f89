"""A process that works on a repository for weeks stays as large as it was."""

import gc
import sys

import pygit2
import pytest
from pygit2.enums import Option

from perago.stores.git import GitStore
from perago.stores.git.repository import CACHE_BYTES
from perago.values.models import WorkspaceInput

LOOKS = 5_000


@pytest.fixture
def store(tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data.txt").write_text("data")
    made = GitStore.create(tmp_path / "data.git")
    made.import_directory(tmp_path / "files", "main", "begin")
    return made


def test_looking_at_a_branch_again_and_again_keeps_nothing(store):
    for _ in range(100):
        store.branch_head("main")
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(LOOKS):
        store.branch_head("main")
    gc.collect()
    assert sys.getallocatedblocks() - before < LOOKS / 10


def test_what_is_kept_of_objects_that_were_read_is_bounded(store, tmp_path):
    """libgit2 would keep up to 256 MiB of them in each process."""
    handle = pygit2.Repository(str(tmp_path / "data.git"))
    root = handle.references["refs/heads/main"].target
    who, tree, head = pygit2.Signature("someone", "someone@example.org"), handle[root].tree_id, root
    count = 3 * CACHE_BYTES // 1_000
    for number in range(count):
        head = handle.create_commit(None, who, who, f"{number:01000}", tree, [head])
    handle.references["refs/heads/main"].set_target(head)
    assert (
        len(
            store.read_history(
                WorkspaceInput(repository="data", branch="main", refType="commit", ref=str(root))
            ).commits
        )
        == count
    )
    kept, most = pygit2.option(Option.GET_CACHED_MEMORY)
    assert most == CACHE_BYTES
    assert kept <= most + 64 * 1024
