"""Repositories, branches, refs and prefixes that are not there, or not what they should be."""

import itertools
import os
import shutil
from dataclasses import replace

import pytest

from git_support import EVERYTHING, Bench, git, make_execution, write_files
from perago.errors import (
    BranchNotFoundError,
    PrefixNotFoundError,
    PublishFenceError,
    RefNotFoundError,
    RepositoryNotFoundError,
    StoreError,
    WorkspaceContentError,
)
from perago.ports import Kept
from perago.stores.git import GitStore
from perago.values.models import Changes
from perago.values.plans import MAX_HISTORY
from perago.values.spec import WorkspaceSpec

READING = WorkspaceSpec(read_only=True)


def test_no_repository_says_how_to_make_one(tmp_path):
    bench = Bench(tmp_path, GitStore(tmp_path / "nowhere.git"))
    with pytest.raises(RepositoryNotFoundError, match=r"no repository at .*nowhere\.git.*perago import DIR"):
        bench.download("1" * 40)
    with pytest.raises(RepositoryNotFoundError):
        bench.store.read_history(bench.input("1" * 40))
    assert not (tmp_path / "nowhere.git").exists()


def test_a_directory_that_is_no_repository_is_named(tmp_path):
    (tmp_path / "plain").mkdir()
    with pytest.raises(RepositoryNotFoundError, match=r"plain is not a git repository"):
        Bench(tmp_path, GitStore(tmp_path / "plain")).download("1" * 40)


def test_a_file_that_is_no_repository_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RepositoryNotFoundError, match=r"file is not a git repository"):
        Bench(tmp_path, GitStore(tmp_path / "file")).download("1" * 40)


def test_a_directory_within_a_repository_is_not_taken_for_it(bench):
    bench.import_files({"a": b"a"})
    (bench.path / "inside").mkdir()
    with pytest.raises(RepositoryNotFoundError):
        GitStore(bench.path / "inside").branch_head("main")


def test_a_repository_with_a_work_tree_is_refused_with_the_mend(tmp_path):
    git(tmp_path, "init", "--quiet", "work")
    with pytest.raises(RepositoryNotFoundError, match=r"git clone --bare"):
        GitStore(tmp_path / "work").branch_head("main")


def test_a_repository_of_another_user_is_refused_with_the_mend(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a repository away")
    store = GitStore.create(tmp_path / "data.git")
    os.chown(store.path, 12345, 12345)
    with pytest.raises(StoreError, match=r"safe\.directory"):
        GitStore(store.path).branch_head("main")


def test_no_branch_says_how_to_make_one(bench):
    base = bench.import_files({"a": b"a"})
    for call in (
        lambda: bench.download(base, branch="other"),
        lambda: bench.store.read_history(bench.input(base, "other")),
    ):
        with pytest.raises(BranchNotFoundError, match=r"no branch 'other'.*perago import DIR .*--branch other"):
            call()


@pytest.mark.parametrize("branch", ["..", "a..b", "refs/heads/main", "-x", "with space", "@{0}"])
def test_what_is_no_name_for_a_branch_is_no_branch(bench, branch):
    base = bench.import_files({"a": b"a"})
    with pytest.raises(BranchNotFoundError):
        bench.download(base, branch=branch)
    if branch != "refs/heads/main":
        with pytest.raises(BranchNotFoundError):
            bench.import_files({"a": b"a"}, branch=branch)


def test_a_branch_that_is_another_name_is_refused(bench):
    base = bench.import_files({"a": b"a"})
    bench.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    with pytest.raises(BranchNotFoundError, match="is an alias of refs/heads/main"):
        bench.download(base, branch="alias")


def test_names_that_may_mean_another_commit_tomorrow_are_refused(bench):
    base = bench.import_files({"a": b"a"})
    bench.git("tag", "v1", base)
    for ref in ("main", "v1", "HEAD", base[:12], base.upper(), base + "^", base + "\n", "refs/heads/main"):
        with pytest.raises(RefNotFoundError, match="not a full commit id"):
            bench.download(ref)
        with pytest.raises(RefNotFoundError):
            bench.store.read_history(bench.input(ref))


def test_ids_of_what_is_no_commit_are_refused(bench):
    base = bench.import_files({"a": b"a"})
    bench.git("tag", "-a", "v1", base, "-m", "first")
    for name, kind in ((f"{base}^{{tree}}", "tree"), (f"{base}:a", "blob"), ("v1", "tag")):
        with pytest.raises(RefNotFoundError, match=f"is a {kind}, not a commit"):
            bench.download(bench.git("rev-parse", name))


def test_a_commit_that_is_not_there_is_refused(bench):
    bench.import_files({"a": b"a"})
    with pytest.raises(RefNotFoundError, match=f"has no commit {'1' * 40}"):
        bench.download("1" * 40)


def test_an_input_that_is_not_on_the_branch_is_refused(bench):
    base = bench.import_files({"a": b"a"})
    bench.git("branch", "other", base)
    elsewhere = bench.person_commits({"b": b"b"}, branch="other")
    with pytest.raises(PublishFenceError, match="is not among the last"):
        bench.store.read_history(bench.input(elsewhere))
    with pytest.raises(PublishFenceError):
        bench.publish_files(elsewhere, {"c": b"c"})
    assert bench.head() == base


def test_a_branch_deleted_meanwhile_is_not_made_again(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    bench.git("update-ref", "-d", "refs/heads/main")
    with pytest.raises(BranchNotFoundError, match=f"git -C .* branch main {base}"):
        bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert bench.store.branches() == []


def test_a_branch_reset_meanwhile_is_left_alone(bench):
    first = bench.import_files({"a": b"a"})
    base = bench.person_commits({"a": b"b"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    bench.git("update-ref", "refs/heads/main", first)
    with pytest.raises(PublishFenceError, match="moved"):
        bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert bench.head() == first


def test_an_execution_without_stamp_or_changes_is_not_staged(bench):
    base = bench.import_files({"a": b"a"})
    for missing, said in (("stamp", "no stamp"), ("changes", "has no changes")):
        execution = replace(make_execution(base, changes=Changes(added=("b",))), **{missing: None})
        with pytest.raises(StoreError, match=said):
            bench.store.stage_workspace(bench.root, bench.input(base), EVERYTHING, execution)


# ---- prefixes


def test_a_prefix_confines_what_is_read_and_written(bench):
    base = bench.import_files({"in/deep/a": b"a", "inside": b"beside", "in/deeper": b"x", "out": b"o"})
    spec = WorkspaceSpec(prefix="in/deep")
    work = bench.download(base, spec)
    assert work.before == {"a": b"a"}
    write_files(work.directory, {"b": b"b", "in/c": b"c"})
    (work.directory / "a").unlink()
    ref = bench.finish(work)
    assert bench.content(ref) == {
        "in/deep/b": b"b",
        "in/deep/in/c": b"c",
        "inside": b"beside",
        "in/deeper": b"x",
        "out": b"o",
    }


def test_a_prefix_that_is_not_there_is_an_empty_workspace_that_a_writable_task_fills(bench):
    base = bench.import_files({"a": b"a"})
    spec = WorkspaceSpec(prefix="new/dir")
    assert bench.download(base, spec).before == {}
    ref = bench.publish_files(base, {"first": b"1"}, spec=spec)
    assert bench.content(ref) == {"a": b"a", "new/dir/first": b"1"}


def test_a_prefix_that_is_not_there_is_an_error_for_a_task_that_only_reads(bench):
    base = bench.import_files({"a": b"a"})
    with pytest.raises(PrefixNotFoundError, match=r"no directory 'new'.*ls-tree"):
        bench.download(base, READING.model_copy(update={"prefix": "new"}))


@pytest.mark.parametrize("prefix", ["a", "a/b", "a/b/c", "d/a/b"])
def test_a_prefix_that_is_a_file_or_leads_through_one_is_an_error(bench, prefix):
    base = bench.import_files({"a": b"a", "d/a": b"a"})
    with pytest.raises(PrefixNotFoundError):
        bench.download(base, WorkspaceSpec(prefix=prefix))


def test_a_file_never_replaces_a_directory_of_which_only_a_part_was_selected(bench):
    base = bench.import_files({"d/x.csv": b"1", "d/y.txt": b"2", "e/z.txt": b"3"})
    spec = WorkspaceSpec(exclude=["*/*.txt"])
    with pytest.raises(WorkspaceContentError, match=r"^d would be both a file and a directory"):
        publish_in_place_of(bench, base, "d", spec)
    with pytest.raises(WorkspaceContentError, match=r"^e would be both a file and a directory"):
        publish_in_place_of(bench, base, "e", spec)
    assert bench.head() == base


def publish_in_place_of(bench, base, directory, spec):
    work = bench.download(base, spec)
    shutil.rmtree(work.directory / directory, ignore_errors=True)
    write_files(work.directory, {directory: b"now a file"})
    bench.finish(work)


def test_what_is_not_selected_is_neither_fetched_nor_touched(bench):
    base = bench.import_files({"a.csv": b"1", "b.txt": b"2", "raw/c.csv": b"3", "raw/d.csv": b"4"})
    spec = WorkspaceSpec(include=["**/*.csv"], exclude=["raw/d.csv"])
    work = bench.download(base, spec)
    assert work.before == {"a.csv": b"1", "raw/c.csv": b"3"}
    (work.directory / "raw/c.csv").unlink()
    ref = bench.finish(work)
    assert bench.content(ref) == {"a.csv": b"1", "b.txt": b"2", "raw/d.csv": b"4"}


# ---- damage


def test_a_missing_blob_is_an_error_that_names_it(loose_bench):
    base = loose_bench.import_files({"a": b"a"})
    blob = loose_bench.git("rev-parse", f"{base}:a")
    (loose_bench.path / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(StoreError, match=rf"reading blob {blob}.*fsck"):
        loose_bench.download(base)


def test_a_missing_blob_is_not_looked_for_where_its_file_is_kept(loose_bench, tmp_path):
    base = loose_bench.import_files({"a": b"a", "b": b"b"})
    blob = loose_bench.git("rev-parse", f"{base}:a")
    (loose_bench.path / "objects" / blob[:2] / blob[2:]).unlink()
    workspace, kept = tmp_path / "workspace", {"a": f"git-sha1:{blob}"}
    workspace.mkdir()
    given = loose_bench.input(base)
    told = loose_bench.store.complete_workspace(given, EVERYTHING, workspace, lambda _: Kept(kept, ()))
    assert [path.name for path in workspace.iterdir()] == ["b"]
    assert told.keys() == {"a", "b"}


def test_a_damaged_blob_is_noticed(loose_bench):
    base = loose_bench.import_files({"a": b"a" * 100, "b": b"b" * 100})
    paths = []
    for name in ("a", "b"):
        blob = loose_bench.git("rev-parse", f"{base}:{name}")
        paths.append(loose_bench.path / "objects" / blob[:2] / blob[2:])
    paths[0].unlink()
    shutil.copy(paths[1], paths[0])
    with pytest.raises(StoreError, match="reading blob"):
        Bench(loose_bench.root, GitStore(loose_bench.path)).download(base)


def test_a_history_of_many_commits_is_read_whole_and_a_longer_one_is_refused(loose_bench):
    """Commits by the thousand from `git fast-import`, on top of the input."""
    base = loose_bench.import_files({"a": b"a"})
    commit = "commit refs/heads/main\ncommitter Ada <ada@example.org> 1700000000 +0000\ndata 1\nx\n"
    stream = commit + f"from {base}\n\n" + (commit + "\n") * (MAX_HISTORY - 1)
    loose_bench.git("fast-import", "--quiet", text=stream)
    history = loose_bench.store.read_history(loose_bench.input(base))
    assert len(history.commits) == MAX_HISTORY
    assert history.commits[0].id == history.head == loose_bench.head()
    assert history.commits[-1].parent == base
    assert all(later.parent == earlier.id for later, earlier in itertools.pairwise(history.commits))
    loose_bench.person_commits({"b": b"b"})
    with pytest.raises(PublishFenceError, match=f"last {MAX_HISTORY} first-parent commits"):
        loose_bench.store.read_history(loose_bench.input(base))
