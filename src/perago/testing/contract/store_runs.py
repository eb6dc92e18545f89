"""Transactional runs: a branch of their own, published as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from perago.errors import (
    BranchNotFoundError,
    HeadMovedError,
    PublishFenceError,
    RefNotFoundError,
    RepositoryNotFoundError,
    StoreError,
)
from perago.ports import TransactionalStore
from perago.testing.contract.bench import EVERYTHING, MAIN, Bench, Edits, Staged, StoreHooks, Work, lacking_something
from perago.testing.contract.framework import pytest
from perago.testing.contract.store_merge import CONFLICTS, MERGED
from perago.testing.contract.store_races import WRITERS, at_once
from perago.values.history import Merge, Plan, Publish, Seal
from perago.values.models import Changes, TaskExecution
from perago.values.spec import WorkspaceSpec

RUN = "perago-run-20260101t000000z-contract-0123456789abcdef"
OTHER_RUN = "perago-run-20260101t000001z-contract-fedcba9876543210"


@dataclass(frozen=True)
class Run:
    """A run that has begun.

    Attributes:
        base: the commit that it began at.
    """

    bench: Bench
    branch: str
    base: str

    @classmethod
    def begin(cls, bench: Bench, source: str = MAIN, branch: str = RUN) -> Run:
        return cls(bench, branch, _store(bench).create_run_branch(bench.hooks.repository(bench.store), branch, source))

    def publish(self, files: Edits, spec: WorkspaceSpec = EVERYTHING) -> str:
        """One task of the run, as an attempt on the head of its branch. Returns the id of the published commit."""
        head = self.bench.head(self.branch)
        return self.bench.publish(head, files, Publish(head), spec=spec, branch=self.branch)

    def changes(self, ref: str) -> Changes:
        return _store(self.bench).changes_of_run(self.bench.input(self.base), ref)

    def execution(self, ref: str, plan: Plan | None = None) -> TaskExecution:
        return self.bench.execution(self.base, changes=self.changes(ref), plan=plan)

    def stage(self, ref: str, plan: Plan | None = None) -> Staged:
        return self.stage_as(ref, self.execution(ref, plan))

    def stage_as(self, ref: str, execution: TaskExecution) -> Staged:
        workspace_input = self.bench.input(self.base)
        staged = _store(self.bench).stage_run(workspace_input, ref, execution)
        work = Work(self.bench.directory(), workspace_input, EVERYTHING, None, {}, frozenset())
        return Staged(self.bench.store, staged, work, execution)

    def end(self, ref: str, plan: Plan | None = None) -> str:
        """A complete attempt that publishes a commit of the run. Returns the id of the published commit."""
        return self.stage(ref, plan).finish()


def _store(bench: Bench) -> TransactionalStore:
    assert isinstance(bench.store, TransactionalStore)
    return bench.store


class TransactionalStoreContract(StoreHooks):
    """Tests of `ports.TransactionalStore`, for a store that passes `StoreContract`, too."""

    # ---- the run's branch

    def test_a_run_begins_at_a_branchs_head_or_at_a_commit(self, bench: Bench) -> None:
        first, head = bench.commit({"a": b"1"}), bench.commit({"a": b"2"})
        assert Run.begin(bench).base == bench.head(RUN) == head
        assert Run.begin(bench, first, OTHER_RUN).base == bench.head(OTHER_RUN) == first
        assert (bench.line(), bench.line(RUN), bench.line(OTHER_RUN)) == ([head, first], [head, first], [first])
        assert bench.lay_out(head, branch=RUN).before == {"a": b"2"}
        assert bench.staged() == []

    def test_a_run_begins_once_however_often_it_is_asked_for(self, bench: Bench) -> None:
        """Also after its tasks have published to its branch, by commits that name that branch."""
        bench.commit({"a": b"1"})
        base = bench.publish(bench.head(), {"a": b"2"})
        assert Run.begin(bench).base == base
        later = bench.commit({"b": b"1"})
        run = Run.begin(bench)
        assert (run.base, bench.line(RUN)) == (base, bench.line()[1:])
        made = [run.publish({"c": b"1"}), run.publish({"c": b"2"})]
        assert Run.begin(bench).base == Run.begin(bench, later).base == base
        assert bench.line(RUN) == [*made[::-1], *bench.line()[1:]]

    def test_a_run_begins_once_from_several_threads(self, bench: Bench) -> None:
        heads = [bench.commit({"a": b"%d" % number}) for number in range(WRITERS)]
        runs = at_once([partial(Run.begin, bench, head) for head in heads])
        assert {run.base for run in runs} == {bench.head(RUN)}

    def test_a_run_cannot_begin_at_what_is_missing(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        with pytest.raises(BranchNotFoundError, match="missing"):
            Run.begin(bench, "missing")
        with pytest.raises(RefNotFoundError, match=self.unknown_commit):
            Run.begin(bench, self.unknown_commit)
        store, missing = self.without_repository(bench.store, bench.directory())
        assert isinstance(store, TransactionalStore)
        with pytest.raises(RepositoryNotFoundError, match="repository"):
            store.create_run_branch(missing, RUN, base)
        with pytest.raises(BranchNotFoundError):
            bench.history(base, RUN)

    # ---- the run's changes

    def test_the_changes_of_a_run_are_those_of_all_its_tasks(self, bench: Bench) -> None:
        bench.commit({"kept": b"1", "change": b"1", "there and back": b"1", "d/remove": b"1", "file": b"1"})
        run = Run.begin(bench)
        run.publish({"change": b"2", "there and back": b"2", "new": b"1", "gone again": b"1", "d/remove": None})
        ref = run.publish({"there and back": b"1", "gone again": None, "file": None, "file/in": b"1", "d/b": b"1"})
        bench.commit({"kept": b"theirs"})
        changes = Changes(added=("d/b", "file/in", "new"), modified=("change",), deleted=("d/remove", "file"))
        assert run.changes(ref) == changes
        assert run.changes(run.base) == Changes()
        with pytest.raises(StoreError, match=self.unknown_commit):
            run.changes(self.unknown_commit)

    def test_the_executable_bit_is_a_change_of_a_run(self, bench: Bench) -> None:
        base = bench.commit({"run.sh": b"1", "a": b"1"})
        run = Run.begin(bench)
        work = bench.lay_out(base, branch=RUN)
        work.make_executable("run.sh")
        ref = bench.stage(work).finish()
        assert run.changes(ref) == Changes(modified=("run.sh",))
        foreign = bench.commit({"b": b"theirs"})
        published = run.end(ref, Merge(foreign, (foreign,)))
        assert bench.lay_out(published).executables == {"run.sh"}
        assert bench.files(published) == {"run.sh": b"1", "a": b"1", "b": b"theirs"}

    # ---- publishing it

    def test_a_run_is_published_as_a_whole_by_one_commit(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "remove": b"1", "file": b"1"})
        run = Run.begin(bench)
        made = [run.publish({"b": b"2", "remove": None}), run.publish({"file": None, "file/in": b"3"})]
        staged = run.stage(made[-1])
        assert (bench.line(), bench.staged()) == ([base], [staged.workspace.branch])
        ref = staged.finish()
        assert (bench.line(), bench.staged()) == ([ref, base], [])
        assert bench.files(ref) == bench.files(made[-1]) == {"a": b"1", "b": b"2", "file/in": b"3"}
        assert bench.line(RUN) == [*made[::-1], base]
        commit = bench.newest(base)
        assert commit.counting_stamp is not None
        assert (commit.id, commit.is_seal, commit.counting_stamp.expected_head) == (ref, False, base)
        assert bench.lay_out(ref).before == bench.files(ref)

    def test_a_run_may_delete_every_file(self, bench: Bench) -> None:
        bench.commit({"a": b"1", "b/c": b"2"})
        run = Run.begin(bench)
        assert bench.files(run.end(run.publish({"a": None, "b/c": None}))) == {}

    def test_a_part_of_a_run_can_be_published_and_is_replaced_by_a_later_end(self, bench: Bench) -> None:
        """As after a rerun of one of its tasks."""
        base = bench.commit({"a": b"1"})
        run = Run.begin(bench)
        first, second = run.publish({"b": b"1", "wrong": b"1"}), run.publish({"b": b"2", "wrong": None, "c": b"2"})
        ended = run.end(first)
        assert bench.files(ended) == {"a": b"1", "b": b"1", "wrong": b"1"}
        again = run.end(second, Publish(ended, (ended,)))
        assert bench.line() == [again, ended, base]
        assert bench.files(again) == bench.files(second) == {"a": b"1", "b": b"2", "c": b"2"}
        stamp = bench.newest(base).counting_stamp
        assert stamp is not None
        assert (stamp.expected_head, stamp.abandoned, stamp.input_ref) == (ended, (ended,), base)

    @pytest.mark.parametrize("kind", MERGED)
    def test_a_run_is_merged_with_what_others_did(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, expected = MERGED[kind]
        base = bench.commit(before)
        run = Run.begin(bench)
        ref = run.publish(mine)
        foreign = [bench.commit(edits) for edits in theirs]
        published = run.end(ref, Merge(foreign[-1], tuple(foreign)))
        assert bench.files(published) == expected
        assert bench.line() == [published, *foreign[::-1], base]

    @pytest.mark.parametrize("kind", CONFLICTS)
    def test_a_path_that_a_run_and_others_changed_is_refused_and_named(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, path = CONFLICTS[kind]
        base = bench.commit(before)
        run = Run.begin(bench)
        ref = run.publish(mine)
        foreign = bench.commit(theirs)
        with pytest.raises(PublishFenceError, match=f"'{path}'") as refused:
            run.end(ref, Merge(foreign, (foreign,)))
        assert not isinstance(refused.value, HeadMovedError)
        assert (bench.line(), bench.staged(), bench.line(RUN)) == ([foreign, base], [], [ref, base])

    def test_a_refusal_of_a_run_says_whose_commits_changed_the_paths(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        run = Run.begin(bench)
        ref = run.publish({"a": b"mine", "b": b"mine"})
        theirs, beside = bench.commit({"a": b"theirs"}), bench.commit({"c": b"theirs"})
        between = bench.history(base).between
        with pytest.raises(PublishFenceError, match=f"'a'.*{theirs[:12]} by {between[0].author}") as refused:
            run.end(ref, Merge(beside, (theirs, beside), commits=between))
        assert beside[:12] not in str(refused.value)

    def test_the_earlier_end_of_a_run_is_undone_beside_others_commits(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        run = Run.begin(bench)
        first, second = run.publish({"a": b"wrong", "stray": b"wrong"}), run.publish({"a": b"2", "stray": None})
        ended = run.end(first)
        foreign = bench.commit({"b": b"theirs"})
        again = run.end(second, Merge(foreign, (foreign,), (ended,)))
        assert bench.line() == [again, foreign, ended, base]
        assert bench.files(again) == {"a": b"2", "b": b"theirs"}

    def test_a_run_touches_nothing_outside_of_what_its_tasks_selected(self, bench: Bench) -> None:
        outside = {"a": b"1", "data2/a": b"1", "logs/run.log": b"1"}
        bench.commit({**outside, "data/a": b"1", "data/b": b"1", "logs/a": b"1"})
        run = Run.begin(bench)
        run.publish({"a": b"2", "b": None}, WorkspaceSpec(prefix="data"))
        ref = run.publish({"a": b"2"}, WorkspaceSpec(prefix="logs", exclude=["*.log"]))
        foreign = bench.commit({"data2/b": b"theirs"})
        published = run.end(ref, Merge(foreign, (foreign,)))
        assert bench.files(published) == {**outside, "data/a": b"2", "logs/a": b"2", "data2/b": b"theirs"}

    def test_a_seal_takes_nothing_of_the_run(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        run = Run.begin(bench)
        ref = run.publish({"b": b"2"})
        ended = run.end(ref)
        seal = run.end(run.publish({"c": b"3"}), Seal(ended, ended, bench.newest(base).stamp))
        assert (bench.line(), bench.staged()) == ([seal, ended, base], [])
        assert bench.files(seal) == {"a": b"1", "b": b"2"}
        assert bench.newest(base).is_seal

    def test_a_run_is_published_exactly_once(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        run = Run.begin(bench)
        staged = run.stage(run.publish({"b": b"2"}))
        ref = staged.publish()
        assert staged.publish() == ref
        person = bench.commit({"c": b"3"})
        assert staged.publish() == ref
        staged.clean()
        assert (bench.line(), bench.staged()) == ([person, ref, base], [])

    def test_of_two_runs_on_one_head_the_second_ends_on_top_of_the_first(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        runs = [Run.begin(bench), Run.begin(bench, branch=OTHER_RUN)]
        refs = [run.publish({name: b"2"}) for run, name in zip(runs, ("b", "c"), strict=True)]
        staged = [run.stage(ref) for run, ref in zip(runs, refs, strict=True)]
        first = staged[0].finish()
        with pytest.raises(HeadMovedError):
            staged[1].finish()
        assert (bench.line(), bench.staged()) == ([first, base], [])
        second = runs[1].end(refs[1], Merge(first, (first,)))
        assert bench.files(second) == {"a": b"1", "b": b"2", "c": b"2"}

    def test_what_cannot_be_staged_leaves_nothing(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        run = Run.begin(bench)
        ref = run.publish({"b": b"2"})
        whole = run.execution(ref, Publish(base))
        for kind, execution in lacking_something(whole, base, self.unknown_commit).items():
            with pytest.raises(StoreError):
                run.stage_as(ref, execution)
            assert bench.staged() == [], kind
        with pytest.raises(StoreError, match=self.unknown_commit):
            run.stage_as(self.unknown_commit, whole)
        assert (bench.line(), bench.staged(), bench.line(RUN)) == ([base], [], [ref, base])
