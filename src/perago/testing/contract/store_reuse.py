"""A history as a whole, for an index of it, and content of a commit that is committed again, for a cache of runs."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from perago.errors import (
    HeadMovedError,
    ObjectNameError,
    PeragoError,
    PublishFenceError,
    RepositoryNotFoundError,
    SourceGoneError,
    StoreError,
)
from perago.ports import MAX_MESSAGE, CommitEntry, ReusableStore
from perago.testing.contract.bench import EVERYTHING, MAIN, Bench, Edits, Staged, StoreHooks, Work, lacking_something
from perago.testing.contract.framework import pytest
from perago.testing.contract.store_merge import CONFLICTS, MERGED
from perago.testing.contract.store_runs import Run
from perago.values.history import Merge, Plan, Publish, Seal
from perago.values.models import Changes, TaskExecution
from perago.values.spec import WorkspaceSpec

ELSEWHERE = "elsewhere"
"""The branch that has what is copied."""

LARGE = bytes(range(256)) * 6000
"""More than stores keep as they keep small files."""


def _store(bench: Bench) -> ReusableStore:
    assert isinstance(bench.store, ReusableStore)
    return bench.store


def read(bench: Bench, known: Callable[[str], bool] = lambda _: False) -> dict[str, CommitEntry]:
    """The commits that are not known, by id. Each is there once."""
    entries = list(_store(bench).commits_since(bench.hooks.repository(bench.store), known))
    found = {entry.id: entry for entry in entries}
    assert len(found) == len(entries)
    return found


def _same(bench: Bench, one: str, other: str, spec: WorkspaceSpec) -> bool:
    return _store(bench).has_same_files(bench.input(one), other, spec)


@dataclass(frozen=True)
class Source:
    """A commit with the result of a task on a branch of its own.

    Attributes:
        changes: what the task did to its input.
        spec: of the task.
    """

    bench: Bench
    ref: str
    changes: Changes
    spec: WorkspaceSpec

    @classmethod
    def publish(
        cls, bench: Bench, before: Edits, edits: Edits, spec: WorkspaceSpec = EVERYTHING, executable: str | None = None
    ) -> Source:
        """Run a task on the content `before`."""
        work = bench.lay_out(bench.commit(before, ELSEWHERE), spec, ELSEWHERE)
        work.edit(edits)
        if executable is not None:
            work.make_executable(executable)
        return cls(bench, bench.stage(work).finish(), work.changes(), spec)

    def execution(self, base: str, plan: Plan | None = None) -> TaskExecution:
        return self.bench.execution(base, changes=self.changes, plan=plan, branch=MAIN)

    def stage(self, base: str, plan: Plan | None = None) -> Staged:
        """Stage what the task did on the main branch, for an attempt with another input."""
        return self.stage_as(base, self.execution(base, plan))

    def stage_as(self, base: str, execution: TaskExecution) -> Staged:
        workspace_input = self.bench.input(base)
        staged = _store(self.bench).stage_copy(self.ref, workspace_input, self.spec, execution)
        work = Work(self.bench.directory(), workspace_input, self.spec, None, {}, frozenset())
        return Staged(self.bench.store, staged, work, execution)

    def publish_on(self, base: str, plan: Plan | None = None) -> str:
        """A complete attempt; returns the id of the published commit."""
        return self.stage(base, plan).finish()


class ReusableStoreContract(StoreHooks):
    """Tests of `ports.ReusableStore`, for a store that passes `StoreContract` and `TransactionalStoreContract`, too."""

    @abstractmethod
    def person_merges(self, store: Any, source: str, branch: str) -> str:
        """Merge a branch into another without Perago, and delete it. Returns the id of the merge.

        Both have changed different paths.
        """

    # ---- the history as a whole

    def test_the_commits_of_all_branches_are_read_each_once(self, bench: Bench) -> None:
        at_first = read(bench)
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"})
        run = Run.begin(bench)
        made = [run.publish({"c": b"3"}), run.publish({"c": b"4"})]
        other = [bench.commit({"a": b"%d" % number}, ELSEWHERE) for number in range(3)]
        found = read(bench)
        assert found.keys() == at_first.keys() | {base, ref, *made, *other}
        assert {parent for entry in found.values() for parent in entry.parents} <= found.keys()
        assert found[ref].parents == (base,)
        assert [found[commit].parents[0] for commit in made] == [ref, made[0]]

    def test_a_commit_says_whose_it_is_and_what_it_does(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"})
        found = read(bench)
        person, publication = found[base], found[ref]
        facts = bench.newest(base)
        assert person.stamp is None
        assert person.author
        assert person.subject
        assert (publication.author, publication.subject, publication.stamp) == (
            facts.author,
            facts.subject,
            facts.counting_stamp,
        )
        assert publication.stamp is not None
        assert facts.time in (None, publication.time)
        assert publication.time.utcoffset() == timedelta(0)

    def test_a_commit_says_what_it_changed_since_its_first_parent(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "d/e": b"2", "f": b"3"})
        ref = bench.publish(base, {"a": b"4", "b": b"5", "f": None})
        seal = bench.seal(ref, ref, ref, bench.newest(base).stamp)
        found = read(bench)
        changes = _store(bench).changes_of(bench.hooks.repository(bench.store), [found[seal], found[ref], found[base]])
        assert changes[0] == Changes()
        assert changes[1] == Changes(added=("b",), modified=("a",), deleted=("f",))
        assert {"a", "d/e", "f"} <= {*changes[2].added}

    def test_changes_of_names_that_begin_alike_can_be_asked_for_alone(self, bench: Bench) -> None:
        base = bench.commit({"d/e": b"1", "d/f": b"2", "de": b"3"})
        ref = bench.publish(base, {"d/e": b"4", "d/ee": b"5", "d/f": None, "de": b"6", "e": b"7"})
        found = read(bench)

        def changed(prefix: str) -> Changes:
            [changes] = _store(bench).changes_of(bench.hooks.repository(bench.store), [found[ref]], prefix)
            return changes

        assert changed("d/e") == Changes(added=("d/ee",), modified=("d/e",))
        assert changed("d/") == Changes(added=("d/ee",), modified=("d/e",), deleted=("d/f",))
        assert changed("d") == Changes(added=("d/ee",), modified=("d/e", "de"), deleted=("d/f",))
        assert changed("d/f/g") == changed("g") == Changes()

    def test_a_message_has_neither_subject_nor_stamp(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"}, params={"text": "x" * 10_000})
        entry = read(bench)[ref]
        assert len(entry.message) <= MAX_MESSAGE
        assert entry.subject not in entry.message
        assert "x" * 100 not in entry.message
        assert "execution" not in entry.message

    def test_only_what_is_not_known_is_read(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        bench.publish(base, {"b": b"2"})
        known = read(bench)
        assert read(bench, known.__contains__) == {}
        later = [bench.commit({"a": b"3"}), bench.commit({"a": b"4"}, ELSEWHERE)]
        assert read(bench, known.__contains__).keys() == {*later}

    def test_nothing_before_a_known_commit_is_read(self, bench: Bench) -> None:
        line = [bench.commit({"a": b"%d" % number}) for number in range(4)]
        assert read(bench, lambda commit: commit == line[1]).keys() == {*line[2:]}
        assert read(bench, lambda commit: commit == line[3]) == {}

    def test_what_is_known_is_asked_by_the_caller_s_thread_once_for_each(self, bench: Bench) -> None:
        """An index in a database may be used in one thread only."""
        for number in range(3):
            bench.commit({"a": b"%d" % number})
        Run.begin(bench)
        asked, threads = list[str](), set[int]()

        def known(commit: str) -> bool:
            asked.append(commit)
            threads.add(threading.get_ident())
            return False

        found = read(bench, known)
        assert sorted(asked) == sorted(found)
        assert threads == {threading.get_ident()}

    def test_what_a_person_merged_is_read_too(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        side = [bench.commit({"side": b"%d" % number}, ELSEWHERE) for number in range(3)]
        mine = bench.commit({"b": b"1"})
        merge = self.person_merges(bench.store, ELSEWHERE, MAIN)
        found = read(bench)
        assert {base, mine, merge, *side} <= found.keys()
        assert (found[merge].parents, found[merge].stamp) == ((mine, side[-1]), None)
        later = bench.commit({"c": b"1"})
        assert read(bench, {*found}.__contains__).keys() == {later}
        assert read(bench, {base, mine}.__contains__).keys() >= {later, merge, *side}

    def test_what_is_staged_is_not_read(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        known = read(bench)
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        staged = bench.stage(work)
        assert read(bench, known.__contains__) == {}
        ref = staged.publish()
        assert read(bench, known.__contains__).keys() == {ref}
        staged.clean()
        assert read(bench, known.__contains__).keys() == {ref}

    def test_a_run_is_read_as_its_tasks_and_its_end(self, bench: Bench) -> None:
        bench.commit({"a": b"1"})
        run = Run.begin(bench)
        known = read(bench)
        made = [run.publish({"b": b"1"}), run.publish({"c": b"1"})]
        foreign = bench.commit({"d": b"theirs"})
        ended = run.end(made[-1], Merge(foreign, (foreign,)))
        found = read(bench, known.__contains__)
        assert found.keys() == {*made, foreign, ended}
        assert [bool(found[commit].stamp) for commit in (*made, foreign, ended)] == [True, True, False, True]

    def test_a_stamp_is_read_where_it_counts(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        ref = bench.publish(base, {"b": b"2"})
        seal = bench.seal(base, ref, ref, bench.newest(base).stamp)
        bench.commit({"b": None})
        copies = [bench.copy(ref), bench.copy(seal)]
        found = read(bench)
        assert [found[commit].stamp for commit in copies] == [None, None]
        sealed, published = found[seal].stamp, found[ref].stamp
        assert sealed is not None
        assert published is not None
        assert (sealed.completes, sealed.expected_head) == (ref, ref)
        assert (published.completes, published.expected_head) == (None, base)

    def test_a_history_that_is_not_there_is_an_error(self, bench: Bench) -> None:
        store, missing = self.without_repository(bench.store, bench.directory())
        assert isinstance(store, ReusableStore)
        with pytest.raises(RepositoryNotFoundError, match="repository"):
            list(store.commits_since(missing, lambda _: False))

    def test_a_history_of_nothing_is_empty(self, bench: Bench) -> None:
        """But for a first commit, which some stores make with the repository."""
        assert len(read(bench)) <= 1

    # ---- whether two commits have the same files

    def test_two_commits_have_the_same_files_where_only_others_differ(self, bench: Bench) -> None:
        one = bench.commit({"in/out/a": b"1", "in/out/d/b": LARGE, "in/other": b"1"})
        other = bench.commit({"in/other": b"2", "in/more": b"3", "out/a": b"4", "in/output": b"5"})
        for patterns in (["out/**"], ["out/a", "out/d"], ["no/**"], ["out/*"]):
            assert _same(bench, one, other, WorkspaceSpec(prefix="in", include=patterns)), patterns
        assert _same(bench, one, other, WorkspaceSpec(prefix="in", exclude=["o*er", "more", "output"]))
        assert _same(bench, one, other, WorkspaceSpec(prefix="nowhere"))
        assert _same(bench, one, one, EVERYTHING)
        assert not _same(bench, one, other, WorkspaceSpec(prefix="in"))

    @pytest.mark.parametrize("edits", [{"d/a": b"2"}, {"d/a": None}, {"d/new": b""}, {"d/e": b"file"}])
    def test_a_file_that_differs_is_seen(self, bench: Bench, edits: Edits) -> None:
        one = bench.commit({"d/a": b"1", "d/b": b"1", "d/e/f": b"1"})
        other = bench.commit({"d/e/f": None, **edits} if "d/e" in edits else edits)
        spec = WorkspaceSpec(include=["x/**", "d/**"])
        assert not _same(bench, one, other, spec)
        assert not _same(bench, other, one, spec)

    def test_an_executable_bit_that_differs_is_seen(self, bench: Bench) -> None:
        bench.commit({"a": b"1"})
        source = Source.publish(bench, {"run.sh": b"1"}, {"other": b"1"}, executable="run.sh")
        before = bench.line(ELSEWHERE)[1]
        spec = WorkspaceSpec(include=["run.sh"])
        assert not _same(bench, before, source.ref, spec)
        assert not _same(bench, source.ref, before, spec)

    def test_files_of_a_commit_that_is_not_there_are_no_same_ones(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        with pytest.raises(StoreError):
            _same(bench, base, self.unknown_commit, EVERYTHING)

    # ---- content that is committed again

    def test_a_copy_is_what_the_task_made_on_another_input(self, bench: Bench) -> None:
        before = {"in": b"1", "old/file": b"1", "run.sh": b"1"}
        edits = {"large": LARGE, "d/small": b"2", "empty": b"", "in": b"2", "old/file": None}
        source = Source.publish(bench, before, edits, executable="run.sh")
        base = bench.commit({**before, "beside": b"3"})
        staged = source.stage(base)
        assert (bench.line(), bench.staged()) == ([base], [staged.workspace.branch])
        ref = staged.finish()
        assert (bench.line(), bench.staged()) == ([ref, base], [])
        made = {"large": LARGE, "d/small": b"2", "empty": b"", "in": b"2", "run.sh": b"1"}
        assert bench.files(ref) == {**made, "beside": b"3"}
        laid_out = bench.lay_out(ref)
        assert (laid_out.before, laid_out.executables) == ({**made, "beside": b"3"}, frozenset({"run.sh"}))
        commit = bench.newest(base)
        assert staged.execution.stamp is not None
        assert (commit.id, commit.counting_stamp) == (ref, staged.execution.stamp.on(base))

    def test_a_copy_of_an_earlier_state_of_its_own_branch(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1", "b": b"1"})
        ref = bench.publish(base, {"a": b"2", "b": None})
        undone = bench.commit({"a": b"1", "b": b"1"})
        changes = Changes(modified=("a",), deleted=("b",))
        again = Source(bench, ref, changes, EVERYTHING).publish_on(undone, Publish(undone))
        assert bench.files(again) == {"a": b"2"}
        assert bench.line() == [again, undone, ref, base]

    def test_only_the_changes_are_copied(self, bench: Bench) -> None:
        source = Source.publish(bench, {"z": b"1"}, {"a": b"2", "b": b"2", "z": b"2"})
        base = bench.commit({"a": b"1", "z": b"1"})
        ref = replace(source, changes=Changes(added=("b",))).publish_on(base)
        assert bench.files(ref) == {"a": b"1", "b": b"2", "z": b"1"}

    def test_a_copy_stays_below_its_prefix(self, bench: Bench) -> None:
        before = {"data/a": b"1", "data/b": b"1", "a": b"1", "data2/a": b"1"}
        spec = WorkspaceSpec(prefix="data")
        source = Source.publish(bench, before, {"a": b"2", "c/d": b"2", "b": None}, spec)
        base = bench.commit({**before, "a": b"0", "data2/a": b"0"})
        ref = source.publish_on(base)
        assert bench.files(ref) == {"data/a": b"2", "data/c/d": b"2", "a": b"0", "data2/a": b"0"}

    def test_a_file_may_become_a_directory_and_the_reverse(self, bench: Bench) -> None:
        before = {"file": b"1", "d/e": b"1", "z": b"1"}
        source = Source.publish(bench, before, {"file": None, "file/in": b"2", "d/e": None, "d": b"2"})
        assert bench.files(source.publish_on(bench.commit(before))) == {"file/in": b"2", "d": b"2", "z": b"1"}

    def test_a_copy_on_a_head_that_is_not_the_input_replaces_what_was_abandoned(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1", "b": b"1"}, {"a": b"2", "large": LARGE, "b": None})
        base = bench.commit({"a": b"1", "b": b"1"})
        abandoned = bench.publish(base, {"a": b"wrong", "stray": b"wrong"})
        ref = source.publish_on(base, Publish(abandoned, (abandoned,)))
        assert bench.line() == [ref, abandoned, base]
        assert bench.files(ref) == {"a": b"2", "large": LARGE}
        stamp = bench.newest(base).counting_stamp
        assert stamp is not None
        assert (stamp.expected_head, stamp.abandoned, stamp.input_ref) == (abandoned, (abandoned,), base)

    @pytest.mark.parametrize("kind", MERGED)
    def test_a_copy_is_merged_with_what_others_did(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, expected = MERGED[kind]
        source = Source.publish(bench, before, mine)
        base = bench.commit(before)
        foreign = [bench.commit(edits) for edits in theirs]
        ref = source.publish_on(base, Merge(foreign[-1], tuple(foreign)))
        assert bench.files(ref) == expected
        assert bench.line() == [ref, *foreign[::-1], base]

    @pytest.mark.parametrize("kind", CONFLICTS)
    def test_a_path_that_a_copy_and_others_changed_is_refused_and_named(self, bench: Bench, kind: str) -> None:
        before, theirs, mine, path = CONFLICTS[kind]
        source = Source.publish(bench, before, mine)
        base = bench.commit(before)
        foreign = bench.commit(theirs)
        plan = Merge(foreign, (foreign,), commits=bench.history(base).between)
        with pytest.raises(PublishFenceError, match=f"'{path}'. Nothing is lost; theirs is in {foreign[:12]} by "):
            source.publish_on(base, plan)
        assert (bench.line(), bench.staged()) == ([foreign, base], [])

    def test_abandoned_changes_are_undone_beside_a_copy(self, bench: Bench) -> None:
        before = {"a": b"1", "b": b"1", "c": b"1"}
        source = Source.publish(bench, before, {"d": b"mine"})
        base = bench.commit(before)
        abandoned = bench.publish(base, {"a": b"wrong", "b": b"wrong", "c": None, "stray": b"wrong"})
        foreign = bench.commit({"b": b"theirs"})
        ref = source.publish_on(base, Merge(foreign, (foreign,), (abandoned,)))
        assert bench.files(ref) == {"a": b"1", "b": b"theirs", "c": b"1", "d": b"mine"}
        assert bench.line() == [ref, foreign, abandoned, base]

    def test_without_a_plan_a_copy_is_published_on_its_input_alone(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
        base = bench.commit({"a": b"1"})
        ref = source.publish_on(base)
        assert bench.line() == [ref, base]
        with pytest.raises(PublishFenceError, match=ref[:12]):
            source.publish_on(base)
        assert (bench.line(), bench.staged()) == ([ref, base], [])

    def test_a_copy_that_lost_its_swap_is_staged_again(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1"}, {"b": b"2", "large": LARGE})
        base = bench.commit({"a": b"1"})
        execution = source.execution(base, Publish(base))
        lost = source.stage_as(base, execution)
        theirs = bench.commit({"theirs": b"3"})
        with pytest.raises(HeadMovedError):
            lost.publish()
        again = source.stage_as(base, replace(execution, plan=Merge(theirs, (theirs,))))
        assert bench.staged() == [again.workspace.branch]
        ref = again.finish()
        assert bench.files(ref) == {"a": b"1", "b": b"2", "large": LARGE, "theirs": b"3"}
        assert (bench.line(), bench.staged()) == ([ref, theirs, base], [])

    def test_a_copy_is_published_exactly_once(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
        base = bench.commit({"a": b"1"})
        staged = source.stage(base)
        ref = staged.publish()
        assert staged.publish() == ref
        staged.clean()
        staged.clean()
        assert (bench.line(), bench.staged()) == ([ref, base], [])

    def test_an_execution_may_stage_its_own_content_after_a_copy(self, bench: Bench) -> None:
        """Of the same size, too: nothing of the copy is taken for it."""
        source = Source.publish(bench, {"a": b"1"}, {"large": LARGE})
        base = bench.commit({"a": b"1"})
        execution = source.execution(base, Publish(base))
        source.stage_as(base, execution)
        work = bench.lay_out(base)
        work.edit({"large": LARGE[::-1]})
        ref = bench.stage_as(work, execution).finish()
        assert bench.files(ref) == {"a": b"1", "large": LARGE[::-1]}
        assert bench.staged() == []

    def test_a_seal_copies_nothing_and_asks_for_no_source(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
        base = bench.commit({"a": b"1"})
        ref = source.publish_on(base)
        plan = Seal(ref, ref, bench.newest(base).stamp)
        seal = replace(source, ref=self.unknown_commit).publish_on(base, plan)
        assert (bench.line(), bench.staged()) == ([seal, ref, base], [])
        assert bench.files(seal) == bench.files(ref)
        assert bench.newest(base).is_seal

    def test_what_the_source_does_not_have_is_gone_and_nothing_is_staged(self, bench: Bench) -> None:
        source = Source.publish(bench, {"d/e": b"1", "z": b"1"}, {"a": b"2"})
        base = bench.commit({"z": b"1"})
        for path in ("b", "d", "d/e/f", "z/a"):
            both = replace(source, changes=Changes(added=("a", path), deleted=("z",)))
            with pytest.raises(SourceGoneError, match=path):
                both.stage(base, Publish(base))
            assert (bench.line(), bench.staged()) == ([base], []), path
        below = replace(source, spec=WorkspaceSpec(prefix="d"))
        with pytest.raises(SourceGoneError, match="d/a"):
            below.stage(base)
        for ref in (self.unknown_commit, "not an id", ELSEWHERE):
            with pytest.raises(SourceGoneError, match=ref[:12]):
                replace(source, ref=ref).stage(base)
        assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_name_that_no_workspace_could_take_is_not_copied(self, bench: Bench) -> None:
        ref = bench.commit({"back\\slash": b"2"}, ELSEWHERE)
        base = bench.commit({"a": b"1"})
        with pytest.raises(ObjectNameError, match="backslash"):
            Source(bench, ref, Changes(added=("back\\slash",)), EVERYTHING).stage(base)
        assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_copy_takes_no_place_that_the_patterns_hide(self, bench: Bench) -> None:
        base = bench.commit({"data/kept.log": b"1"})
        source = Source.publish(bench, {"z": b"1"}, {"data": b"mine"})
        hiding = replace(source, spec=WorkspaceSpec(exclude=["data/*.log"]))
        with pytest.raises(PeragoError, match="data"):
            hiding.stage(base)
        assert (bench.line(), bench.staged()) == ([base], [])

    def test_a_copy_that_says_too_little_is_not_staged(self, bench: Bench) -> None:
        source = Source.publish(bench, {"a": b"1"}, {"b": b"2"})
        base = bench.commit({"a": b"1"})
        whole = source.execution(base, Publish(base))
        for kind, execution in lacking_something(whole, base, self.unknown_commit).items():
            with pytest.raises(StoreError):
                source.stage_as(base, execution)
            assert bench.staged() == [], kind
        assert bench.line() == [base]
