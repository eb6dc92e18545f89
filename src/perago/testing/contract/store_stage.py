"""Staging: invisible to readers, by plan, without leftovers of failures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from perago.errors import HeadMovedError, ObjectNameError, PeragoError, PublishFenceError, StoreError, WorkspaceError
from perago.testing.contract.bench import EVERYTHING, Bench, StoreHooks, read_files
from perago.testing.contract.framework import pytest
from perago.values.history import Complete, Merge, Publish, Refuse, Seal
from perago.values.models import Changes
from perago.values.spec import WorkspaceSpec


def _remove(path: Path) -> None:
    path.unlink()


def _replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("a"))


def _replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILED: dict[str, Callable[[Path], None]] = {
    "gone": _remove,
    "a link": _replace_by_link,
    "a directory": _replace_by_directory,
    "a fifo": _replace_by_fifo,
}


class StageContract(StoreHooks):
    """Effects of staging."""

    def test_what_is_staged_is_seen_by_nobody(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"a": b"2", "b": b"3"})
        staged = bench.stage(work)
        assert (bench.head(), bench.line()) == (base, [base])
        assert bench.history(base).commits == ()
        assert bench.lay_out(base).before == {"a": b"1"}
        assert bench.staged() == [staged.workspace.branch]

    def test_the_workspace_is_left_as_it_is(self, bench: Bench) -> None:
        work = bench.lay_out(bench.commit({"a": b"1"}))
        work.edit({"b": b"2"})
        bench.stage(work)
        assert read_files(work.directory) == {"a": b"1", "b": b"2"}

    def test_only_the_changes_are_read(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"a": b"changed behind the diff", "b": b"2", "c": b"3"})
        execution = bench.execution(base, changes=Changes(added=("b",)))
        ref = bench.stage_as(work, execution).finish()
        assert bench.files(ref) == {"a": b"1", "b": b"2"}

    def test_cleaning_up_twice_or_after_publishing_is_fine(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        staged = bench.stage(work)
        ref = staged.publish()
        staged.clean()
        staged.clean()
        assert bench.staged() == []
        assert bench.line() == [ref, base]
        assert bench.files(ref) == {"a": b"1", "b": b"2"}

    def test_cleaning_up_one_attempt_leaves_the_other(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        one, other = bench.stage(work), bench.stage(work)
        one.clean()
        assert bench.staged() == [other.workspace.branch]
        assert other.finish() == bench.head()

    def test_an_execution_stages_again_in_the_same_place(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        execution = bench.execution(base, changes=work.changes(), plan=Publish(base))
        bench.stage_as(work, execution)
        again = bench.stage_as(work, execution)
        assert bench.staged() == [again.workspace.branch]
        assert bench.files(again.finish()) == {"a": b"1", "b": b"2"}
        assert bench.staged() == []

    def test_an_execution_that_lost_its_swap_stages_the_same_on_the_new_head(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        mine = {"large": bytes(range(256)) * 6000, "same": bytes(range(256)) * 6000, "small": b"2"}
        work.edit({**mine, "a": None})
        execution = bench.execution(base, changes=work.changes(), plan=Publish(base))
        lost = bench.stage_as(work, execution)
        theirs = bench.commit({"theirs": b"3"})
        with pytest.raises(HeadMovedError):
            lost.finish()
        again = bench.stage_as(work, replace(execution, plan=Merge(theirs, (theirs,))))
        assert bench.files(again.finish()) == {**mine, "theirs": b"3"}
        assert bench.staged() == []

    @pytest.mark.parametrize("kind", SPOILED)
    def test_what_cannot_be_read_as_a_file_is_refused_and_nothing_is_left(self, bench: Bench, kind: str) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"a": b"2", "b": b"3"})
        execution = bench.execution(base, changes=work.changes())
        SPOILED[kind](work.directory / "b")
        with pytest.raises(WorkspaceError, match="b"):
            bench.stage_as(work, execution)
        assert (bench.line(), bench.staged()) == ([base], [])

    @pytest.mark.parametrize("size", [7, 2 << 20], ids=["small", "large"])
    def test_a_directory_that_became_a_link_is_not_followed(self, bench: Bench, tmp_path: Path, size: int) -> None:
        """A process that the task left swaps it after the diff: nothing from outside is committed."""
        outside = tmp_path / "outside"
        outside.mkdir()
        for name in ("file", "twin"):
            (outside / name).write_bytes(b"outside" * (size // 7))
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"d/e/file": b"inside", "d/e/twin": b"inside"})
        execution = bench.execution(base, changes=work.changes())
        (work.directory / "d/e").rename(work.directory / "aside")
        (work.directory / "d/e").symlink_to(outside)
        with pytest.raises(WorkspaceError, match="d/e/"):
            bench.stage_as(work, execution)
        assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_name_that_no_workspace_could_take_is_refused(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"back\\slash": b"2"})
        with pytest.raises(ObjectNameError, match="backslash"):
            bench.stage(work)
        assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_name_grows_too_long_below_its_prefix(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        prefix = "/".join(["p" * 200] * 5)
        work = bench.lay_out(base, WorkspaceSpec(prefix=prefix))
        work.edit({"n" * 200: b"2"})
        with pytest.raises(ObjectNameError, match="1024"):
            bench.stage(work)
        assert bench.staged() == []

    def test_a_plan_to_refuse_is_a_refusal(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        bench.commit({"b": b"2"})
        history = bench.history(base)
        with pytest.raises(PublishFenceError, match=history.head[:12]):
            bench.stage(bench.lay_out(base), Refuse(history.head, history.between))
        assert bench.staged() == []

    def test_what_says_too_little_is_not_staged(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        whole = bench.execution(base, changes=Changes(), plan=Publish(base))
        lacking = {
            "no stamp": replace(whole, stamp=None),
            "no changes": replace(whole, changes=None),
            "nothing to write": replace(whole, plan=Complete(base)),
        }
        for kind, execution in lacking.items():
            with pytest.raises(StoreError):
                bench.stage_as(work, execution)
            assert bench.staged() == [], kind

    def test_a_head_that_is_not_there_is_refused(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        for plan in (Publish(self.unknown_commit), Seal(self.unknown_commit, base)):
            with pytest.raises(StoreError, match=self.unknown_commit):
                bench.stage(bench.lay_out(base), plan)
            assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_file_takes_no_place_that_the_patterns_hide(self, bench: Bench) -> None:
        base = bench.commit({"data/kept.log": b"1", "note": b"2"})
        hiding = {"data": WorkspaceSpec(exclude=["data/*.log"]), "note/below": WorkspaceSpec(include=["*/*"])}
        for path, spec in hiding.items():
            work = bench.lay_out(base, spec)
            work.edit({path: b"mine"})
            with pytest.raises(PeragoError, match=path.partition("/")[0]):
                bench.stage(work)
            assert bench.staged() == []
        assert bench.files(bench.head()) == {"data/kept.log": b"1", "note": b"2"}

    # ---- without a plan: no engine knows any stamp

    def test_without_a_plan_an_input_that_is_the_head_is_published_on(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"})
        assert bench.line() == [ref, base]

    def test_without_a_plan_seals_are_passed_over(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        seal = bench.seal(base, base, base)
        ref = bench.publish(base, {"b": b"2"})
        assert bench.line() == [ref, seal, base]
        assert bench.store.complete_noop_workspace(bench.input(ref), EVERYTHING, bench.execution(ref)) == ref

    @pytest.mark.parametrize("whose", ["a person's", "another attempt's"])
    def test_without_a_plan_any_other_commit_is_refused_and_named(self, bench: Bench, whose: str) -> None:
        base = bench.commit({"a": b"1"})
        between = bench.commit({"b": b"2"}) if whose == "a person's" else bench.publish(base, {"b": b"2"})
        with pytest.raises(PublishFenceError, match=between[:12]):
            bench.publish(base, {"c": b"3"})
        assert (bench.line(), bench.staged()) == ([between, base], [])

    # ---- no change

    def test_a_no_op_completes_with_its_input_where_only_seals_lie_between(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        noop = bench.store.complete_noop_workspace
        assert noop(bench.input(base), EVERYTHING, bench.execution(base)) == base
        seal = bench.seal(base, base, base)
        assert noop(bench.input(base), EVERYTHING, bench.execution(base)) == base
        assert bench.line() == [seal, base]

    def test_a_no_op_without_a_plan_is_refused_over_any_other_commit(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        between = bench.commit({"b": b"2"})
        with pytest.raises(PublishFenceError, match=between[:12]):
            bench.store.complete_noop_workspace(bench.input(base), EVERYTHING, bench.execution(base))

    def test_a_no_op_completes_as_planned(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"})
        planned = bench.execution(base, plan=Complete(ref))
        assert bench.store.complete_noop_workspace(bench.input(base), EVERYTHING, planned) == ref
        with pytest.raises(StoreError):
            bench.store.complete_noop_workspace(bench.input(base), EVERYTHING, bench.execution(base, plan=Publish(ref)))
        assert bench.line() == [ref, base]
