"""git's own housekeeping beside attempts: what hangs on a reference stays."""

import os

import pytest

from forks import fork
from git_support import Bench, write_files
from perago.errors import RefNotFoundError, StoreError
from perago.stores.git import GitStore
from perago.stores.git.packs import PACK_FROM

LARGE = b"x" * (1 << 20)


@pytest.mark.parametrize("command", [("gc",), ("gc", "--prune=now", "--aggressive"), ("repack", "-a", "-d")])
@pytest.mark.parametrize("files", [3, 150])
def test_a_staged_commit_survives_and_can_be_published(bench, command, files):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {f"f{number}": b"%d" % number for number in range(files)} | {"large": LARGE})
    staged, execution = bench.stage(work)
    bench.git(*command, "--quiet")
    ref = bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    bench.store.cleanup_staging(staged)
    bench.git("gc", "--prune=now", "--quiet")
    assert len(bench.content(ref)) == files + 2
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_a_head_of_the_past_survives_when_a_person_resets_the_branch(bench):
    base = bench.import_files({"a": b"a"})
    ref = bench.publish_files(base, {"b": b"b"})
    bench.git("update-ref", "refs/heads/main", base)
    bench.git("gc", "--prune=now", "--quiet")
    assert bench.git("cat-file", "-t", ref) == "commit"


def test_a_staged_commit_that_was_cleaned_and_collected_is_not_published(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    bench.store.cleanup_staging(staged)
    bench.git("gc", "--prune=now", "--quiet")
    with pytest.raises(StoreError, match=staged.commit):
        bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert bench.head() == base


def test_a_store_that_is_open_finds_what_was_packed_meanwhile(bench):
    base = bench.import_files({"a": b"a"})
    for turn in range(3):
        base = bench.publish_files(base, {f"f{turn}": b"x"})
        bench.git("gc", "--prune=now", "--quiet")
    assert len(bench.content(base)) == 4


def test_a_pack_that_was_known_and_never_opened_may_go(bench):
    """libgit2 knows from an index that a pack has an object, and finds the pack gone."""
    first = bench.import_files({f"a{number}": b"a%d" % number for number in range(PACK_FROM)})
    second = bench.publish_files(first, {f"b{number}": b"b%d" % number for number in range(PACK_FROM)})
    store = GitStore(bench.path)
    with pytest.raises(RefNotFoundError):
        store.read_history(bench.input("1" * 40))  # looks into every index, and opens no pack
    bench.git("gc", "--prune=now", "--quiet")
    assert len(Bench(bench.root, store).content(second)) == 2 * PACK_FROM


def test_a_forked_process_opens_a_repository_of_its_own(bench):
    base = bench.import_files({"a": b"a"})
    child = fork()
    if child == 0:
        code = 1
        try:
            code = 0 if bench.publish_files(base, {"b": b"b"}) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bench.git("ls-tree", "--name-only", "main").split() == ["a", "b"]
    assert [commit.id for commit in bench.store.read_history(bench.input(base)).commits] == [bench.head()]


def test_pushing_does_not_drop_published_commits(bench, tmp_path):
    from git_support import git

    base = bench.import_files({"a": b"a"})
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(bench.path), str(clone))
    ref = bench.publish_files(base, {"b": b"b"})
    git(clone, "commit", "--quiet", "--allow-empty", "-m", "on the side")
    git(clone, "push", "--force", "--quiet", check=False)
    assert bench.head() == ref
