"""Publishing: exactly once or not at all, without losing a commit."""

from __future__ import annotations

from perago.errors import HeadMovedError
from perago.testing.contract.bench import EVERYTHING, Bench, Staged, StoreHooks, Work
from perago.testing.contract.framework import pytest
from perago.values.history import Publish, Seal
from perago.values.spec import WorkspaceSpec


class PublishContract(StoreHooks):
    """Effects of publishing on the target."""

    def test_the_target_moves_to_the_input_with_the_changes_on_it(self, bench: Bench) -> None:
        base = bench.commit({"keep": b"1", "change": b"1", "remove": b"1", "d/remove": b"1"})
        ref = bench.publish(base, {"change": b"2", "remove": None, "d/remove": None, "e/new": b"2"})
        assert (bench.head(), bench.line()) == (ref, [ref, base])
        assert bench.files(ref) == {"keep": b"1", "change": b"2", "e/new": b"2"}
        assert bench.lay_out(ref).before == bench.files(ref)
        assert bench.staged() == []

    def test_every_file_may_go(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b/c": b"2"})
        ref = bench.publish(base, {"a": None, "b/c": None})
        assert bench.files(ref) == {}
        assert bench.files(bench.publish(ref, {"d": b"3"})) == {"d": b"3"}

    def test_a_file_becomes_a_directory_and_a_directory_a_file(self, bench: Bench) -> None:
        base = bench.commit({"file": b"1", "dir/a": b"2", "dir/b": b"3"})
        ref = bench.publish(base, {"file": None, "dir/a": None, "dir/b": None, "file/in": b"4", "dir": b"5"})
        assert bench.files(ref) == {"file/in": b"4", "dir": b"5"}

    def test_the_executable_bit_is_kept_and_can_be_all_that_changes(self, bench: Bench) -> None:
        base = bench.commit({"run.sh": b"#!/bin/sh\n", "plain": b"1"})
        work = bench.lay_out(base)
        work.make_executable("run.sh")
        ref = bench.stage(work).finish()
        assert bench.lay_out(ref).executables == {"run.sh"}
        later = bench.publish(ref, {"other": b"2"})
        work = bench.lay_out(later)
        assert work.executables == {"run.sh"}
        (work.directory / "run.sh").chmod(0o644)
        assert bench.lay_out(bench.stage(work).finish()).executables == set()

    # ---- prefix and patterns

    @pytest.mark.parametrize("prefix", ["C:", "C:/data"])
    def test_a_prefix_may_look_like_a_drive(self, bench: Bench, prefix: str) -> None:
        base = bench.commit({"other": b"1"})
        ref = bench.publish(base, {"a": b"2"}, spec=WorkspaceSpec(prefix=prefix))
        assert bench.files(ref) == {"other": b"1", f"{prefix}/a": b"2"}

    def test_nothing_outside_the_prefix_is_touched(self, bench: Bench) -> None:
        outside = {"a": b"1", "data2/a": b"1", "x/data/a": b"1", "data.txt": b"1"}
        base = bench.commit({**outside, "data/a": b"1", "data/b": b"1"})
        ref = bench.publish(base, {"a": b"2", "b": None, "x/c": b"2"}, spec=WorkspaceSpec(prefix="data"))
        assert bench.files(ref) == {**outside, "data/a": b"2", "data/x/c": b"2"}

    def test_what_the_patterns_leave_out_is_not_touched(self, bench: Bench) -> None:
        base = bench.commit({"p/a.csv": b"1", "p/b.txt": b"1", "p/raw/c.csv": b"1", "d.csv": b"1"})
        spec = WorkspaceSpec(prefix="p", include=["**/*.csv"], exclude=["raw"])
        ref = bench.publish(base, {"a.csv": None, "new.csv": b"2"}, spec=spec)
        assert bench.files(ref) == {"p/b.txt": b"1", "p/raw/c.csv": b"1", "d.csv": b"1", "p/new.csv": b"2"}

    # ---- the swap

    def test_a_head_that_moved_refuses_and_stays_whole(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        staged = self._staged(bench, base)
        person = bench.commit({"c": b"3"})
        with pytest.raises(HeadMovedError):
            staged.finish()
        assert (bench.line(), bench.staged()) == ([person, base], [])
        assert bench.files(person) == {"a": b"1", "c": b"3"}

    def test_after_a_lost_swap_the_same_execution_stages_anew(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        execution = bench.execution(base, changes=work.changes(), plan=Publish(base))
        lost = bench.stage_as(work, execution)
        other = bench.publish(base, {"wrong": b"3"})
        with pytest.raises(HeadMovedError):
            lost.publish()
        execution = bench.execution(base, changes=work.changes(), plan=Publish(other, (other,)))
        ref = bench.stage_as(work, execution).finish()
        assert bench.line() == [ref, other, base]
        assert bench.files(ref) == {"a": b"1", "b": b"2"}

    def test_a_plan_that_names_an_older_head_is_refused_at_the_swap(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        other = bench.publish(base, {"b": b"2"})
        with pytest.raises(HeadMovedError):
            bench.publish(base, {"c": b"3"}, Publish(base))
        assert (bench.line(), bench.staged()) == ([other, base], [])

    def test_publishing_twice_is_one_commit(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        staged = self._staged(bench, base)
        ref = staged.publish()
        assert staged.publish() == ref
        assert bench.line() == [ref, base]

    def test_publishing_again_after_others_went_on_is_still_one_commit(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        staged = self._staged(bench, base)
        ref = staged.publish()
        later = bench.publish(ref, {"c": b"3"})
        person = bench.commit({"d": b"4"})
        assert staged.publish() == ref
        assert bench.line() == [person, later, ref, base]

    def test_what_a_janitor_took_meanwhile_is_published_whole_all_the_same(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        staged = self._staged(bench, base)
        staged.clean()
        assert bench.staged() == []
        ref = staged.publish()
        assert bench.line() == [ref, base]
        assert bench.files(ref) == {"a": b"1", "b": b"2"}

    def test_content_that_equals_the_heads_is_published_all_the_same(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"b": b"2"})
        second = bench.publish_on(first, base, {"b": b"2"}, (first,))
        assert bench.line() == [second, first, base]
        assert not bench.newest(base).is_seal

    def test_no_commit_is_ever_lost(self, bench: Bench) -> None:
        base = bench.commit({"a": b"0"})
        seen = [base]
        for number in range(4):
            seen.append(bench.publish_on(seen[-1], base, {f"f{number}": b"1"}, tuple(seen[1:])))
            seen.append(bench.seal(base, seen[-1], seen[-1]))
            seen.append(bench.commit({"p": b"%d" % number}))
        assert bench.line() == seen[::-1]

    # ---- abandoned commits

    def test_abandoned_commits_stay_in_the_history_and_leave_no_content(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1", "c": b"1"})
        first = bench.publish(base, {"a": b"wrong", "b": None, "stray": b"wrong"})
        second = bench.publish_on(first, first, {"d/more": b"wrong"})
        ref = bench.publish_on(second, base, {"c": b"2"}, (first, second))
        assert bench.line() == [ref, second, first, base]
        assert bench.files(ref) == {"a": b"1", "b": b"1", "c": b"2"}

    def test_abandoned_commits_are_replaced_by_an_input_without_changes_too(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"b": b"wrong"})
        ref = bench.publish_on(first, base, {}, (first,))
        assert bench.files(ref) == {"a": b"1"}
        assert bench.line() == [ref, first, base]

    # ---- seals

    def test_a_seal_is_empty_and_says_what_it_completes_with(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        published = bench.publish(
            base, {"b": b"2"}, code_digest="sha256:old", result={"rows": 7}, result_digest="sha256:r"
        )
        source = bench.newest(base).stamp
        seal = bench.seal(base, published, published, source, retry_count=1, code_digest="sha256:new")
        assert bench.line() == [seal, published, base]
        assert bench.files(seal) == bench.files(published)
        commit = bench.newest(base)
        assert (commit.id, commit.is_seal, commit.empty) == (seal, True, True)
        stamp = commit.counting_stamp
        assert stamp is not None
        assert (stamp.completes, stamp.expected_head, stamp.retry_count) == (published, published, 1)
        assert (stamp.code_digest, stamp.result, stamp.result_digest) == ("sha256:old", {"rows": 7}, "sha256:r")

    def test_a_seal_can_complete_with_the_input(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        bench.seal(base, base, base, result={"rows": 3})
        commit = bench.newest(base)
        assert commit.is_seal
        assert commit.stamp is not None
        assert (commit.stamp.completes, commit.stamp.result) == (base, {"rows": 3})

    def test_a_seal_takes_nothing_of_the_workspace(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"a": b"2", "b": b"3"})
        execution = bench.execution(base, changes=work.changes(), plan=Seal(base, base))
        seal = bench.stage_as(work, execution).finish()
        assert bench.files(seal) == {"a": b"1"}

    def test_a_seal_bars_an_older_swap(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        staged = self._staged(bench, base)
        seal = bench.seal(base, base, base)
        with pytest.raises(HeadMovedError):
            staged.finish()
        assert bench.line() == [seal, base]

    def test_a_seal_is_a_swap_too(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        execution = bench.execution(base, plan=Seal(base, base))
        work = Work(bench.directory(), bench.input(base), EVERYTHING, None, {}, frozenset())
        staged = bench.stage_as(work, execution)
        person = bench.commit({"b": b"2"})
        with pytest.raises(HeadMovedError):
            staged.finish()
        assert (bench.line(), bench.staged()) == ([person, base], [])

    @staticmethod
    def _staged(bench: Bench, base: str) -> Staged:
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        return bench.stage(work)
