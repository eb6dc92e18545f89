"""The history between an input and the head: order, stamps, and authors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perago.errors import PublishFenceError
from perago.testing.contract.bench import Bench, StoreHooks
from perago.testing.contract.framework import pytest
from perago.values.history import History, Merge, Publish

STAMPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all of it": {
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "retry_count": 3,
        "scheduled_time": 1 << 53,
    },
    "times unknown": {"scheduled_time": None, "poll_count": None},
    "nothing stored": {"params": None, "result": None, "result_exact": False},
    "hostile text": {
        "task": 'quo"te: \u00e4 \u6f22',
        "reference_task_name": " spaces around ",
        "workflow_instance_id": "line\nbreak\r\n\nPerago-Task: other",
        "task_id": '"quoted"',
        "worker": "\u2028\u202e\x7f\t",
    },
    "hostile json": {
        "params": {"text": "a\n\nb: c\u2028", "deep": {"list": [1, 2.5, None, True, {"": ""}]}},
        "result": {"\u00e4": "\U0001f600", "exp": 1e300, "zero": -0.0, "big": 1 << 70},
    },
    "large json": {"params": {"text": "x" * 16_000}, "result": {"rows": list(range(3_000))}},
}


class HistoryContract(StoreHooks):
    """A store's history of a branch."""

    def test_nothing_lies_between_a_head_and_itself(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        assert bench.history(base) == History(base, base, ())

    def test_commits_come_newest_first_and_each_names_its_parent(self, bench: Bench) -> None:
        bench.commit({"before": b"0"})
        base = bench.commit({"a": b"1"})
        above = [bench.commit({"a": b"%d" % number}) for number in range(2, 5)]
        history = bench.history(base)
        assert (history.head, history.base) == (above[-1], base)
        assert [commit.id for commit in history.commits] == above[::-1]
        assert [commit.parent for commit in history.commits] == [*above[-2::-1], base]

    def test_a_history_starts_at_its_own_input(self, bench: Bench) -> None:
        bench.commit({"a": b"1"})
        middle = bench.commit({"a": b"2"})
        head = bench.commit({"a": b"3"})
        assert [commit.id for commit in bench.history(middle).commits] == [head]

    @pytest.mark.parametrize("kind", STAMPS)
    def test_a_stamp_is_read_as_it_was_written(self, bench: Bench, kind: str) -> None:
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        staged = bench.stage(work, **STAMPS[kind])
        ref = staged.finish()
        drafted = staged.execution.stamp
        assert drafted is not None
        (commit,) = bench.history(base).commits
        assert (commit.id, commit.counting_stamp) == (ref, drafted.on(base))

    def test_a_stamp_names_what_its_publication_replaced(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"b": b"2"})
        second = bench.publish_on(first, base, {"b": b"3"}, (first,))
        third = bench.publish_on(second, base, {"b": b"4"}, (first, second))
        stamps = [commit.counting_stamp for commit in bench.history(base).commits]
        assert [stamp.abandoned if stamp else None for stamp in stamps] == [(first, second), (first,), ()]
        assert [stamp.expected_head if stamp else None for stamp in stamps] == [second, first, base]
        assert bench.head() == third

    def test_a_persons_commit_has_no_stamp_and_says_who_and_what(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        bench.commit({"a": b"2"})
        (commit,) = bench.history(base).commits
        assert commit.stamp is None
        assert commit.author
        assert commit.subject

    def test_a_copied_stamp_does_not_count(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        published = bench.publish(base, {"b": b"2"})
        bench.commit({"b": None})
        copy = bench.copy(published)
        newest, _, original = bench.history(base).commits
        assert (newest.id, original.id) == (copy, published)
        assert bench.files(copy)["b"] == b"2"
        assert newest.counting_stamp is None
        assert original.counting_stamp is not None

    def test_a_copied_seal_seals_nothing(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        seal = bench.seal(base, base, base)
        bench.copy(seal)
        newest, original = bench.history(base).commits
        assert (newest.is_seal, original.is_seal) == (False, True)
        assert bench.history(base).between == (newest,)

    def test_a_made_up_seal_with_content_is_a_foreign_commit(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        forged = bench.forge_seal({"a": b"theirs", "b": b"theirs"}, base)
        assert (forged.is_seal, forged.empty) == (False, False)
        assert bench.history(base).between == (forged,)
        with pytest.raises(PublishFenceError, match=forged.id[:12]):
            bench.publish(base, {"c": b"mine"})
        merged = bench.publish(base, {"c": b"mine"}, Merge(forged.id, (forged.id,)))
        assert bench.files(merged) == {"a": b"theirs", "b": b"theirs", "c": b"mine"}

    def test_a_made_up_seal_without_content_has_none_to_lose(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        assert bench.forge_seal({}, base).is_seal
        assert bench.history(base).between == ()

    def test_a_commit_is_empty_where_its_content_is_its_parents(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        first = bench.publish(base, {"b": b"2"})
        again = bench.publish_on(first, base, {"b": b"2"}, (first,))
        bench.publish_on(again, base, {"b": b"3"}, (first, again))
        assert [commit.empty for commit in bench.history(base).commits] == [False, True, False]

    def test_the_executable_bit_alone_is_content(self, bench: Bench) -> None:
        base = bench.commit({"run.sh": b"1"})
        work = bench.lay_out(base)
        work.make_executable("run.sh")
        bench.stage(work).finish()
        assert not bench.newest(base).empty

    def test_an_input_of_another_branch_is_refused(self, bench: Bench) -> None:
        bench.commit({"a": b"1"})
        elsewhere = bench.commit({"b": b"2"}, "elsewhere")
        with pytest.raises(PublishFenceError, match=elsewhere[:12]):
            bench.history(elsewhere)

    def test_branches_are_apart(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        other = bench.commit({"b": b"2"}, "other")
        ref = bench.publish(other, {"c": b"3"}, branch="other")
        assert (bench.line(), bench.line("other")) == ([base], [ref, other])
        assert bench.history(base).commits == ()

    def test_reading_a_history_twice_says_the_same(self, bench: Bench) -> None:
        base = bench.commit({"a": b"1"})
        bench.publish(base, {"b": b"2"})
        bench.commit({"c": b"3"})
        assert bench.history(base) == bench.history(base)

    def test_a_stamp_is_judged_by_its_first_parent_alone(self, bench: Bench) -> None:
        """The expected head in an attempt's draft does not matter: the store sets the actual one."""
        base = bench.commit({"a": b"1"})
        work = bench.lay_out(base)
        work.edit({"b": b"2"})
        execution = bench.execution(base, changes=work.changes(), plan=Publish(base))
        assert execution.stamp is not None
        lying = replace(execution, stamp=replace(execution.stamp, expected_head=self.unknown_commit))
        bench.stage_as(work, lying).finish()
        stamp = bench.newest(base).counting_stamp
        assert stamp is not None
        assert stamp.expected_head == base
