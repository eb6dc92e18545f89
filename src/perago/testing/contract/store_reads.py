"""Validation of reads: what the task could see and others have changed, path by path, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from perago.ports import Event, Phase
from perago.testing.contract.attempts import whole_attempt
from perago.testing.contract.bench import Bench, Edits, StoreHooks, edit
from perago.testing.contract.framework import pytest
from perago.values.history import Merge, Publish
from perago.values.models import RuntimeTaskResult
from perago.values.spec import Isolation, WorkspaceSpec

BEFORE: Edits = {"data/a.csv": b"1", "data/sub/b.csv": b"1", "data/notes.txt": b"1", "other/c.csv": b"1", "top": b"1"}


@dataclass(frozen=True)
class Foreign:
    """Successive foreign commits, and the paths that differ then for a task with a prefix, include and exclude."""

    commits: list[Edits]
    differs: set[str] = field(default_factory=set)
    prefix: str = "data"
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)

    @property
    def spec(self) -> WorkspaceSpec:
        return WorkspaceSpec(prefix=self.prefix, include=self.include, exclude=self.exclude)


CASES: dict[str, Foreign] = {
    "another directory": Foreign([{"other/c.csv": b"2"}, {"top": None}]),
    "a directory whose name begins alike": Foreign([{"data2/a.csv": b"2", "data.csv": b"2"}]),
    "a file in scope": Foreign([{"data/a.csv": b"2"}], {"data/a.csv"}),
    "a file that was deleted": Foreign([{"data/sub/b.csv": None}], {"data/sub/b.csv"}),
    "a file that would have appeared": Foreign([{"data/new.csv": b"2"}], {"data/new.csv"}),
    "the first file below the prefix": Foreign([{"new/a.csv": b"2"}], {"new/a.csv"}, prefix="new"),
    "all files below the prefix deleted": Foreign([{"other/c.csv": None}], {"other/c.csv"}, prefix="other"),
    "a file in the place of the directory": Foreign(
        [{"other/c.csv": None}, {"other": b"2"}], {"other/c.csv"}, prefix="other"
    ),
    "changed and reverted": Foreign([{"data/a.csv": b"2", "data/new": b"2"}, {"data/a.csv": b"1", "data/new": None}]),
    "deleted and restored": Foreign([{"data/a.csv": None}, {"data/a.csv": b"1"}]),
    "a pattern that does not match": Foreign([{"data/notes.txt": b"2", "data/new.txt": b"2"}], include=["**/*.csv"]),
    "a pattern that matches": Foreign(
        [{"data/notes.txt": b"2", "data/sub/new.csv": b"2"}], {"data/sub/new.csv"}, include=["**/*.csv"]
    ),
    "an excluded directory": Foreign([{"data/sub/b.csv": b"2", "data/sub/new.csv": b"2"}], exclude=["sub"]),
    "beside an excluded directory": Foreign(
        [{"data/a.csv": b"2", "data/sub/b.csv": b"2"}], {"data/a.csv"}, exclude=["sub"]
    ),
    "everything is in scope": Foreign([{"other/c.csv": b"2"}, {"top": None}], {"other/c.csv", "top"}, prefix="/"),
}


ROUNDS = 20
MOMENTS = [(Phase.PARSE, "started"), (Phase.BODY, "started"), (Phase.BODY, "completed"), (Phase.PUBLISH, "started")]


def race(bench: Bench, number: int, theirs: Edits, isolation: Isolation = "serializable") -> RuntimeTaskResult:
    """A whole attempt on the head's `data`, in which a person commits `theirs`; the number chooses when."""
    moments = [MOMENTS[number % len(MOMENTS)]]

    def observe(event: Event, /) -> None:
        if (event.phase, event.kind) in moments:
            moments.clear()
            bench.commit(theirs)

    result = whole_attempt(
        bench,
        WorkspaceSpec(prefix="data", isolation=isolation),
        lambda workspace: edit(workspace, {f"round-{number}": b"mine"}),
        observe,
    )
    assert moments == [], f"the person did not commit: {result}"
    return result


class ReadsContract(StoreHooks):
    """`validate_reads`, alone and in whole attempts."""

    def test_a_person_on_other_paths_refuses_nobody(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        for number in range(ROUNDS):
            result = race(bench, number, {"other/c.csv": b"%d" % number, f"other/{number}": b"theirs"})
            assert result.status == "COMPLETED", result.reason_for_incompletion
        files = bench.files(bench.head())
        assert {name for name in files if name.startswith("data/round-")} == {f"data/round-{n}" for n in range(ROUNDS)}
        assert {f"other/{number}" for number in range(ROUNDS)} < files.keys()
        assert bench.staged() == []

    def test_a_person_within_the_scope_refuses_everybody(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        for number in range(ROUNDS):
            theirs = f"data/{number}" if number % 2 else "data/a.csv"
            result = race(bench, number, {theirs: b"%d" % number})
            assert f"could see, {theirs!r}: {bench.head()[:12]}" in (result.reason_for_incompletion or "")
        assert not any("round-" in name for name in bench.files(bench.head()))
        assert bench.staged() == []

    def test_an_exclusive_task_is_refused_by_a_person_anywhere(self, bench: Bench) -> None:
        bench.commit(BEFORE)
        for number in range(len(MOMENTS)):
            result = race(bench, number, {"other/c.csv": b"%d" % number}, "exclusive")
            assert "has commits that this attempt has not seen" in (result.reason_for_incompletion or "")

    @pytest.mark.parametrize("kind", CASES)
    def test_what_the_task_could_see_and_others_changed_is_found_and_nothing_else(
        self, bench: Bench, kind: str
    ) -> None:
        case = CASES[kind]
        base = bench.commit(BEFORE)
        made = [bench.commit(edits) for edits in case.commits]
        found = bench.store.validate_reads(bench.input(base), case.spec, Merge(made[-1], tuple(made)))
        assert set({} if found is None else found.paths) == case.differs
        for path, commits in {} if found is None else found.paths.items():
            assert commits == tuple(ref for ref, edits in zip(made, case.commits, strict=True) if path in edits)

    def test_the_executable_bit_is_seen(self, bench: Bench) -> None:
        base = bench.commit({"data/run.sh": b"1"})
        work = bench.lay_out(base)
        work.make_executable("data/run.sh")
        foreign = bench.stage(work).finish()
        found = bench.store.validate_reads(bench.input(base), WorkspaceSpec(prefix="data"), Merge(foreign, (foreign,)))
        assert found is not None
        assert found.paths == {"data/run.sh": (foreign,)}

    def test_what_abandoned_commits_changed_is_undone_and_so_has_not_changed(self, bench: Bench) -> None:
        base = bench.commit(BEFORE)
        abandoned = bench.publish(base, {"data/a.csv": b"wrong", "data/new.csv": b"wrong", "data/notes.txt": None})
        foreign = bench.commit({"other/c.csv": b"theirs"})
        merge = Merge(foreign, (foreign,), (abandoned,))
        assert bench.store.validate_reads(bench.input(base), WorkspaceSpec(prefix="data"), merge) is None
        assert bench.store.validate_reads(bench.input(base), WorkspaceSpec(), merge) is not None

    def test_a_foreign_change_is_found_although_an_abandoned_commit_took_it_back(self, bench: Bench) -> None:
        """At the head the path is as at the input; without the abandoned commit it is not."""
        base = bench.commit(BEFORE)
        foreign = bench.commit({"data/a.csv": b"theirs"})
        abandoned = bench.publish_on(foreign, foreign, {"data/a.csv": b"1", "other/c.csv": b"wrong"})
        merge = Merge(abandoned, (foreign,), (abandoned,))
        found = bench.store.validate_reads(bench.input(base), WorkspaceSpec(prefix="data"), merge)
        assert found is not None
        assert found.paths == {"data/a.csv": (foreign,)}
        assert bench.store.validate_reads(bench.input(base), WorkspaceSpec(prefix="other"), merge) is None

    def test_what_a_foreign_commit_wrote_as_the_one_that_it_replaced_is_found(self, bench: Bench) -> None:
        base = bench.commit(BEFORE)
        first = bench.publish(base, {"data/a.csv": b"2"})
        second = bench.publish(base, {"data/a.csv": b"2"}, Publish(first, (first,)))
        later = bench.commit({"top": b"theirs"})
        merge = Merge(later, (second, later), (first,), ((second, (first,)),), (first, second, later))
        found = bench.store.validate_reads(bench.input(base), WorkspaceSpec(prefix="data"), merge)
        assert found is not None
        assert found.paths == {"data/a.csv": (second,)}
