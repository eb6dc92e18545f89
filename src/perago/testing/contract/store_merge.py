"""Foreign commits are merged path by path and never overwritten."""

from __future__ import annotations

from dataclasses import replace

from perago.errors import HeadMovedError, PublishFenceError
from perago.testing.contract.bench import Bench, Edits, StoreHooks
from perago.testing.contract.framework import pytest
from perago.values.history import Merge, Publish
from perago.values.spec import WorkspaceSpec

# base, successive foreign commits, changes of the attempt -> published content
MERGED: dict[str, tuple[Edits, list[Edits], Edits, dict[str, bytes]]] = {
    "other paths": (
        {"a": b"1", "b": b"1"},
        [{"a": b"theirs"}],
        {"b": b"mine"},
        {"a": b"theirs", "b": b"mine"},
    ),
    "several foreign commits": (
        {"a": b"1"},
        [{"b": b"first"}, {"b": b"second", "c": b"1"}, {"c": None}],
        {"a": b"mine"},
        {"a": b"mine", "b": b"second"},
    ),
    "a foreign deletion": ({"a": b"1", "b": b"1"}, [{"a": None}], {"b": b"mine"}, {"b": b"mine"}),
    "a deletion of the attempt's": ({"a": b"1", "b": b"1"}, [{"b": b"theirs"}], {"a": None}, {"b": b"theirs"}),
    "both did the same": ({"a": b"1"}, [{"a": b"2", "b": b"2"}], {"a": b"2", "b": b"2"}, {"a": b"2", "b": b"2"}),
    "both deleted it": ({"a": b"1", "b": b"1"}, [{"a": None}], {"a": None}, {"b": b"1"}),
    "done and undone again": ({"a": b"1"}, [{"a": b"2"}, {"a": b"1"}], {"a": b"mine"}, {"a": b"mine"}),
    "one directory": (
        {"d/a": b"1"},
        [{"d/b": b"theirs"}],
        {"d/c": b"mine"},
        {"d/a": b"1", "d/b": b"theirs", "d/c": b"mine"},
    ),
    "a directory that both empty": ({"d/a": b"1", "d/b": b"1", "c": b"1"}, [{"d/a": None}], {"d/b": None}, {"c": b"1"}),
    "no change of its own": ({"a": b"1"}, [{"b": b"theirs"}], {}, {"a": b"1", "b": b"theirs"}),
}

# base, foreign commit, changes of the attempt, refused path
CONFLICTS: dict[str, tuple[Edits, Edits, Edits, str]] = {
    "both change it": ({"a": b"1"}, {"a": b"theirs"}, {"a": b"mine"}, "a"),
    "both add it": ({"z": b"1"}, {"a": b"theirs"}, {"a": b"mine"}, "a"),
    "they delete it": ({"a": b"1", "z": b"1"}, {"a": None}, {"a": b"mine"}, "a"),
    "the attempt deletes it": ({"a": b"1", "z": b"1"}, {"a": b"theirs"}, {"a": None}, "a"),
    "they make a directory of it": ({"z": b"1"}, {"a/b": b"theirs"}, {"a": b"mine"}, "a"),
    "they make a file of its directory": ({"z": b"1"}, {"a": b"theirs"}, {"a/b": b"mine"}, "a/b"),
}


class MergeContract(StoreHooks):
    """Publishing by a `Merge` plan."""

    @pytest.mark.parametrize("kind", MERGED)
    def test_a_merge_keeps_what_both_did(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, expected = MERGED[kind]
        base = bench.commit(before)
        foreign = [bench.commit(edits) for edits in theirs]
        ref = bench.publish(base, mine, Merge(foreign[-1], tuple(foreign)))
        assert bench.files(ref) == expected
        assert bench.line() == [ref, *foreign[::-1], base]

    @pytest.mark.parametrize("kind", CONFLICTS)
    def test_a_path_that_both_changed_is_refused_and_named(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, path = CONFLICTS[kind]
        base = bench.commit(before)
        foreign = bench.commit(theirs)
        plan = Merge(foreign, (foreign,), commits=bench.history(base).between)
        with pytest.raises(PublishFenceError, match=f"'{path}'. Nothing is lost; theirs is in {foreign[:12]} by "):
            bench.publish(base, mine, plan)
        assert (bench.line(), bench.staged()) == ([foreign, base], [])

    def test_a_refusal_says_whose_commits_changed_the_paths(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        first, beside, last = (bench.commit(files) for files in ({"a": b"2"}, {"c": b"2"}, {"a": b"3"}))
        between = bench.history(base).between
        plan = Merge(last, (first, beside, last), commits=between)
        with pytest.raises(PublishFenceError) as refused:
            bench.publish(base, {"a": b"mine", "b": b"mine"}, plan)
        said = str(refused.value)
        assert "have changed 1 of the paths that this attempt changed: 'a'. Nothing is lost; theirs is in " in said
        for commit in between:
            named = f"{commit.id[:12]} by {commit.author}"
            assert (named in said) == (commit.id in (first, last)), commit

    def test_conflicts_are_no_lost_swaps(self, bench: Bench) -> None:
        """`HeadMovedError` would make the attempt try again in vain."""
        base = bench.commit({"a": b"1"})
        foreign = bench.commit({"a": b"2"})
        with pytest.raises(PublishFenceError) as refused:
            bench.publish(base, {"a": b"3"}, Merge(foreign, (foreign,)))
        assert not isinstance(refused.value, HeadMovedError)

    def test_the_executable_bit_conflicts_and_merges_like_content(self, bench: Bench) -> None:
        base = bench.commit({"run.sh": b"1", "a": b"1"})
        work = bench.lay_out(base)
        work.make_executable("run.sh")
        foreign = bench.stage(work).finish()
        ref = bench.publish(base, {"a": b"2"}, Merge(foreign, (foreign,)))
        assert bench.lay_out(ref).executables == {"run.sh"}
        with pytest.raises(PublishFenceError, match=r"'run\.sh'"):
            bench.publish(base, {"run.sh": b"2"}, Merge(ref, (foreign, ref)))

    def test_abandoned_changes_are_undone_and_foreign_ones_kept(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1", "c": b"1"})
        abandoned = bench.publish(base, {"a": b"wrong", "b": b"wrong", "c": None, "stray": b"wrong"})
        foreign = bench.commit({"b": b"theirs"})
        ref = bench.publish(base, {"d": b"mine"}, Merge(foreign, (foreign,), (abandoned,)))
        assert bench.files(ref) == {"a": b"1", "b": b"theirs", "c": b"1", "d": b"mine"}
        assert bench.line() == [ref, foreign, abandoned, base]

    def test_what_a_foreign_commit_wrote_as_the_one_that_it_replaced_is_kept(self, bench: Bench) -> None:
        """As the next try of a task does: compared with its first parent it changes nothing there."""
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"a": b"2", "gone": b"wrong"})
        second = bench.publish(base, {"a": b"2"}, Publish(first, (first,)))
        plan = Merge(second, (second,), (first,), ((second, (first,)),), (first, second))
        ref = bench.publish(base, {"b": b"mine"}, plan)
        assert bench.files(ref) == {"a": b"2", "b": b"mine"}
        commits = bench.history(base).between[1:]
        plan = replace(plan, head=ref, foreign=(second, ref), line=(first, second, ref), commits=commits)
        with pytest.raises(PublishFenceError, match=f"'a'. Nothing is lost; theirs is in {second[:12]} published by "):
            bench.publish(base, {"a": b"mine"}, plan)

    def test_a_foreign_commit_keeps_nothing_of_what_it_did_not_replace(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        first = bench.publish(base, {"a": b"2"})
        second = bench.publish(base, {"b": b"2"}, Merge(first, (first,)))
        third = bench.publish(base, {"b": b"2"}, Merge(second, (first,), (second,)))
        assert bench.files(third) == {"a": b"2", "b": b"2"}
        plan = Merge(third, (third,), (first, second), ((third, (second,)),), (first, second, third))
        assert bench.files(bench.publish(base, {"c": b"2"}, plan)) == {"a": b"1", "b": b"2", "c": b"2"}

    def test_what_an_abandoned_commit_wrote_as_the_one_that_it_replaced_is_undone_too(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"a": b"2"})
        second = bench.publish(base, {"a": b"2"}, Publish(first, (first,)))
        by_second = (second, (first,))
        third = bench.publish(base, {"b": b"2"}, Merge(second, (second,), (first,), (by_second,), (first, second)))
        assert bench.files(third) == {"a": b"2", "b": b"2"}
        replaced = (by_second, (third, (first,)))
        plan = Merge(third, (third,), (first, second), replaced, (first, second, third))
        assert bench.files(bench.publish(base, {"c": b"2"}, plan)) == {"a": b"1", "b": b"2", "c": b"2"}

    def test_a_path_that_only_an_abandoned_commit_changed_is_no_conflict(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        foreign = bench.commit({"b": b"theirs"})
        abandoned = bench.publish_on(foreign, foreign, {"a": b"wrong"})
        ref = bench.publish(base, {"a": b"mine"}, Merge(abandoned, (foreign,), (abandoned,)))
        assert bench.files(ref) == {"a": b"mine", "b": b"theirs"}

    def test_what_undoing_brings_back_stands_in_a_foreign_files_way(self, bench: Bench) -> None:
        base = bench.commit({"d/a": b"1", "z": b"1"})
        abandoned = bench.publish(base, {"d/a": None})
        foreign = bench.commit({"d": b"theirs"})
        plan = Merge(foreign, (foreign,), (abandoned,), commits=bench.history(base).between[1:])
        with pytest.raises(PublishFenceError, match=f"'d'. Nothing is lost; theirs is in {foreign[:12]} by "):
            bench.publish(base, {"z": b"mine"}, plan)
        assert (bench.line(), bench.staged()) == ([foreign, abandoned, base], [])

    def test_a_merge_says_what_it_replaced(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        abandoned = bench.publish(base, {"a": b"wrong"})
        foreign = bench.commit({"b": b"theirs"})
        bench.publish(base, {"c": b"mine"}, Merge(foreign, (foreign,), (abandoned,)))
        stamp = bench.newest(base).counting_stamp
        assert stamp is not None
        assert (stamp.expected_head, stamp.abandoned, stamp.input_ref) == (foreign, (abandoned,), base)

    def test_a_merge_reaches_beyond_the_prefix_for_foreign_changes_only(self, bench: Bench) -> None:
        base = bench.commit({"p/a": b"1", "q/a": b"1"})
        foreign = bench.commit({"q/a": b"theirs", "p/b": b"theirs", "r": b"theirs"})
        ref = bench.publish(base, {"a": b"mine"}, Merge(foreign, (foreign,)), spec=WorkspaceSpec(prefix="p"))
        assert bench.files(ref) == {"p/a": b"mine", "p/b": b"theirs", "q/a": b"theirs", "r": b"theirs"}

    def test_a_merge_on_a_head_that_moved_is_refused(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        foreign = bench.commit({"b": b"theirs"})
        work = bench.lay_out(base)
        work.edit({"c": b"mine"})
        staged = bench.stage(work, Merge(foreign, (foreign,)))
        later = bench.commit({"d": b"theirs"})
        with pytest.raises(HeadMovedError):
            staged.finish()
        assert (bench.line(), bench.staged()) == ([later, foreign, base], [])
