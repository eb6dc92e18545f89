"""Attempts on a git repository, from its commit to the next."""

import pytest

from git_support import make_executable, make_execution, write_files
from perago.errors import HeadMovedError, PublishFenceError, StoreError
from perago.values.history import Complete, Merge, Publish, Refuse, Seal
from perago.values.spec import WorkspaceSpec


def test_the_published_commit_holds_the_input_and_the_changes(bench):
    base = bench.import_files({"a.txt": b"a", "data/b.txt": b"b", "data/c.txt": b"c"})
    ref = bench.publish_files(base, {"data/b.txt": b"changed", "new/d.txt": b"d", "a.txt": None})
    assert bench.head() == ref
    assert bench.content(ref) == {"data/b.txt": b"changed", "data/c.txt": b"c", "new/d.txt": b"d"}
    assert bench.git("rev-parse", f"{ref}^") == base


def test_the_staged_commit_is_the_published_one_and_hangs_on_no_branch_before(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    assert bench.head() == base
    assert bench.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/perago") == (
        f"{staged.branch} {staged.commit}"
    )
    assert bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution) == staged.commit
    assert bench.head() == staged.commit


def test_cleaning_removes_the_staging_reference_and_may_be_repeated(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, _ = bench.stage(work)
    bench.store.cleanup_staging(staged)
    bench.store.cleanup_staging(staged)
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_publishing_twice_publishes_once(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    first = bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    later = bench.publish_files(first, {"c": b"c"})
    assert bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution) == first
    assert bench.head() == later
    assert bench.git("rev-list", "--count", "main") == "3"


def test_a_branch_that_moved_since_staging_is_left_alone(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    staged, execution = bench.stage(work)
    by_hand = bench.person_commits({"c": b"c"})
    with pytest.raises(HeadMovedError, match="moved"):
        bench.store.publish_workspace(staged, work.workspace_input, work.spec, execution)
    assert bench.head() == by_hand


def test_without_a_plan_any_commit_since_the_input_is_refused_and_named(bench):
    base = bench.import_files({"a": b"a"})
    by_hand = bench.person_commits({"c": b"c"}, message="mend c")
    with pytest.raises(PublishFenceError, match=r"by Ada at .* \(mend c\)"):
        bench.publish_files(base, {"b": b"b"})
    assert bench.head() == by_hand
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_abandoned_commits_stay_in_the_history_and_leave_no_content(bench):
    base = bench.import_files({"a": b"a", "gone": b"1"})
    abandoned = bench.publish_files(base, {"a": b"wrong", "stray": b"x", "gone": None})
    ref = bench.publish_files(base, {"b": b"b"}, plan=Publish(abandoned, (abandoned,)))
    assert bench.content(ref) == {"a": b"a", "b": b"b", "gone": b"1"}
    assert bench.git("rev-list", "main").split() == [ref, abandoned, base]
    history = bench.store.read_history(bench.input(base))
    assert history.commits[0].counting_stamp.abandoned == (abandoned,)


def test_snapshot_merges_what_others_did_to_other_paths(bench):
    base = bench.import_files({"a": b"a", "b": b"b", "c": b"c"})
    foreign = bench.person_commits({"b": None, "d/e": b"e"})
    ref = bench.publish_files(base, {"a": b"mine"}, plan=Merge(foreign, (foreign,)))
    assert bench.content(ref) == {"a": b"mine", "c": b"c", "d/e": b"e"}
    assert bench.git("rev-parse", f"{ref}^") == foreign


def test_snapshot_undoes_abandoned_changes_and_keeps_foreign_ones(bench):
    base = bench.import_files({"a": b"a", "b": b"b"})
    abandoned = bench.publish_files(base, {"a": b"wrong", "b": b"wrong"})
    foreign = bench.person_commits({"b": b"theirs"})
    ref = bench.publish_files(base, {"c": b"mine"}, plan=Merge(foreign, (foreign,), (abandoned,)))
    assert bench.content(ref) == {"a": b"a", "b": b"theirs", "c": b"mine"}


def test_snapshot_refuses_paths_that_others_changed_and_lists_ten_of_them(bench):
    base = bench.import_files({f"f{number:02}": b"0" for number in range(14)})
    foreign = bench.person_commits({f"f{number:02}": b"theirs" for number in range(12)})
    mine = {f"f{number:02}": b"mine" for number in range(14)}
    with pytest.raises(PublishFenceError, match="and 2 more") as refused:
        bench.publish_files(base, mine, plan=Merge(foreign, (foreign,)))
    assert str(refused.value).startswith("Not published: others have changed 12 of the paths")
    assert "'f09'" in str(refused.value)
    assert "'f10'" not in str(refused.value)
    assert bench.head() == foreign
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_snapshot_refuses_a_file_where_others_made_a_directory(bench):
    base = bench.import_files({"a": b"a"})
    foreign = bench.person_commits({"x/y": b"theirs"})
    with pytest.raises(PublishFenceError, match="'x'"):
        bench.publish_files(base, {"x": b"mine"}, plan=Merge(foreign, (foreign,)))


def test_a_seal_changes_nothing_and_carries_the_adopted_result(bench):
    base = bench.import_files({"a": b"a"})
    published = bench.publish_files(base, {"b": b"b"}, result={"rows": 7}, code_digest="sha256:old")
    source = bench.store.read_history(bench.input(base)).commits[0].counting_stamp
    execution = make_execution(base, plan=Seal(published, published, source))
    staged = bench.store.stage_workspace(bench.root, bench.input(base), WorkspaceSpec(), execution)
    seal = bench.store.publish_workspace(staged, bench.input(base), WorkspaceSpec(), execution)
    newest = bench.store.read_history(bench.input(base)).commits[0]
    assert (newest.id, newest.is_seal, newest.stamp.completes) == (seal, True, published)
    assert (newest.stamp.result, newest.stamp.code_digest) == ({"rows": 7}, "sha256:old")
    assert newest.stamp.execution_id == execution.execution_id
    assert bench.git("diff-tree", published, seal) == ""
    assert bench.git("log", "-1", "--format=%s") == f"build: completed with {published[:12]}"


def test_seals_stand_in_nobodys_way(bench):
    base = bench.import_files({"a": b"a"})
    execution = make_execution(base, plan=Seal(base, base))
    staged = bench.store.stage_workspace(bench.root, bench.input(base), WorkspaceSpec(), execution)
    seal = bench.store.publish_workspace(staged, bench.input(base), WorkspaceSpec(), execution)
    assert bench.store.complete_noop_workspace(bench.input(base), WorkspaceSpec(), make_execution(base)) == base
    ref = bench.publish_files(base, {"b": b"b"})
    assert bench.git("rev-parse", f"{ref}^") == seal


def test_a_publication_whose_content_is_the_heads_is_still_made(bench):
    base = bench.import_files({"a": b"a"})
    abandoned = bench.publish_files(base, {"b": b"b"})
    ref = bench.publish_files(base, {"b": b"b"}, plan=Publish(abandoned, (abandoned,)))
    assert ref != abandoned
    assert bench.git("diff-tree", abandoned, ref) == ""
    assert not bench.store.read_history(bench.input(base)).commits[0].is_seal


def test_a_noop_completes_with_its_input_or_by_plan_or_is_refused(bench):
    base = bench.import_files({"a": b"a"})
    spec = WorkspaceSpec()
    assert bench.store.complete_noop_workspace(bench.input(base), spec, make_execution(base)) == base
    bench.person_commits({"b": b"b"})
    planned = make_execution(base, plan=Complete(base))
    assert bench.store.complete_noop_workspace(bench.input(base), spec, planned) == base
    with pytest.raises(PublishFenceError):
        bench.store.complete_noop_workspace(bench.input(base), spec, make_execution(base))


def test_a_noop_with_a_plan_to_write_or_to_refuse_is_not_completed(bench):
    base = bench.import_files({"a": b"a"})
    with pytest.raises(StoreError, match="the plan Publish"):
        bench.store.complete_noop_workspace(
            bench.input(base), WorkspaceSpec(), make_execution(base, plan=Publish(base))
        )
    refuse = Refuse(base, bench.store.read_history(bench.input(base)).commits)
    with pytest.raises(PublishFenceError):
        bench.store.complete_noop_workspace(bench.input(base), WorkspaceSpec(), make_execution(base, plan=refuse))


def test_plans_that_write_nothing_are_not_staged(bench):
    base = bench.import_files({"a": b"a"})
    for plan, error in ((Complete(base), StoreError), (Refuse(base, ()), PublishFenceError)):
        with pytest.raises(error):
            bench.store.stage_workspace(bench.root, bench.input(base), WorkspaceSpec(), make_execution(base, plan=plan))


def test_paths_may_be_as_deep_as_names_allow(bench):
    base = bench.import_files({"a": b"a"})
    deep = "d/" * 500 + "file"
    ref = bench.publish_files(base, {deep: b"deep"})
    assert bench.content(ref)[deep] == b"deep"
    assert bench.content(bench.publish_files(ref, {deep: None})) == {"a": b"a"}


def test_the_executable_bit_is_kept_and_can_be_all_that_changes(bench):
    base = bench.import_files({"run.sh": b"#!/bin/sh\n", "plain": b"x"})
    work = bench.download(base)
    make_executable(work.directory / "run.sh")
    ref = bench.finish(work)
    assert bench.git("ls-tree", ref, "run.sh").startswith("100755 ")
    assert bench.download(ref).executables == {"run.sh"}
    assert bench.git("log", "-1", "--format=%s") == "build: +0 ~1 -0 files"


def test_a_file_may_become_a_directory_and_a_directory_a_file(bench):
    base = bench.import_files({"x": b"file", "d/one": b"1", "d/two": b"2", "keep": b"k"})
    work = bench.download(base)
    for path in ("x", "d/one", "d/two"):
        (work.directory / path).unlink()
    (work.directory / "d").rmdir()
    write_files(work.directory, {"x/inside": b"i", "d": b"now a file"})
    assert bench.content(bench.finish(work)) == {"x/inside": b"i", "d": b"now a file", "keep": b"k"}


def test_directories_without_files_go(bench):
    base = bench.import_files({"a/b/c/deep": b"1", "a/other": b"2"})
    ref = bench.publish_files(base, {"a/b/c/deep": None})
    assert bench.git("ls-tree", "-r", "-t", "--name-only", ref).split() == ["a", "a/other"]
    emptied = bench.publish_files(ref, {"a/other": None})
    assert bench.content(emptied) == {}
    assert bench.content(bench.publish_files(emptied, {"again": b"1"})) == {"again": b"1"}


def test_a_retry_on_a_moved_head_stages_anew_under_the_same_name(bench):
    base = bench.import_files({"a": b"a"})
    work = bench.download(base)
    write_files(work.directory, {"b": b"b"})
    execution = make_execution(base, changes=work.changes())
    first = bench.store.stage_workspace(work.directory, work.workspace_input, work.spec, execution)
    second = bench.store.stage_workspace(work.directory, work.workspace_input, work.spec, execution)
    assert first.branch == second.branch
    assert bench.git("rev-parse", second.branch) == second.commit
