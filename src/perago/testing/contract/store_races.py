"""Concurrent publishers: one winner for each head, and every winner stays in the history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from perago.errors import HeadMovedError
from perago.testing.contract.bench import Bench, Staged, StoreHooks
from perago.values.history import Merge, Publish

T = TypeVar("T")

WRITERS = 4
SECONDS = 120
MAX_LOST_SWAPS = 1_000


class RaceContract(StoreHooks):
    """Publishing from several threads."""

    def test_of_all_that_publish_on_one_head_one_wins(self, bench: Bench) -> None:
        head = bench.commit({"base": b"0"})
        seen = [head]
        for number in range(self.rounds):
            staged = [self._stage(bench, head, f"r{number}/w{writer}") for writer in range(WRITERS)]
            refs = [ref for ref in at_once([_swap(entry) for entry in staged]) if ref is not None]
            assert len(refs) == 1
            head = refs[0]
            seen.append(head)
            assert bench.head() == head
        assert bench.line() == seen[::-1]
        assert len(bench.files(head)) == 1 + self.rounds
        assert bench.staged() == []

    def test_an_answer_that_is_asked_for_twiceat_once_is_one_commit(self, bench: Bench) -> None:
        base = bench.commit({"base": b"0"})
        staged = self._stage(bench, base, "mine")
        refs = at_once([staged.publish] * WRITERS)
        assert set(refs) == {bench.head()}
        assert bench.line() == [refs[0], base]

    def test_writers_that_try_again_all_come_through(self, bench: Bench) -> None:
        base = bench.commit({"base": b"0"})
        each = max(self.rounds // WRITERS, 1)

        def write(writer: int) -> Callable[[], list[str]]:
            return lambda: [self._merge(bench, base, f"w{writer}/{number}") for number in range(each)]

        published = [ref for refs in at_once([write(writer) for writer in range(WRITERS)]) for ref in refs]
        line = bench.line()
        assert len(published) == len(set(published)) == WRITERS * each
        assert set(line) == {base, *published}
        assert len(line) == len(published) + 1
        expected = {f"w{writer}/{number}" for writer in range(WRITERS) for number in range(each)}
        assert bench.files(line[0]).keys() == {"base", *expected}
        assert bench.staged() == []

    def test_people_and_attempts_lose_nothing_to_each_other(self, bench: Bench) -> None:
        base = bench.commit({"base": b"0"})
        each = max(self.rounds // 4, 1)
        people = [bench.commit({"first": b"1"})]

        def commit() -> list[str]:
            # One person at a time: concurrent commits of two people are not the store's concern.
            people.extend(bench.commit({f"person/{number}": b"1"}) for number in range(each))
            return people

        def write() -> list[str]:
            return [self._merge(bench, base, f"mine/{number}") for number in range(each)]

        by_people, published = at_once([commit, write])
        line = bench.line()
        assert sorted(line) == sorted([base, *by_people, *published])
        assert bench.staged() == []

    @staticmethod
    def _stage(bench: Bench, head: str, path: str) -> Staged:
        work = bench.lay_out(head)
        work.edit({path: b"1"})
        return bench.stage(work, Publish(head))

    @staticmethod
    def _merge(bench: Bench, base: str, path: str) -> str:
        """An attempt from `base` that merges with all foreign commits, repeated until it succeeds."""
        work = bench.lay_out(base)
        work.edit({path: b"1"})
        for _ in range(MAX_LOST_SWAPS):
            history = bench.history(base)
            between = tuple(commit.id for commit in history.between)
            plan = Merge(history.head, between) if between else Publish(history.head)
            try:
                return bench.stage(work, plan).finish()
            except HeadMovedError:
                continue
        raise AssertionError(f"{path}: lost {MAX_LOST_SWAPS} swaps")


def _swap(staged: Staged) -> Callable[[], str | None]:
    def publish() -> str | None:
        try:
            return staged.finish()
        except HeadMovedError:
            return None

    return publish


def at_once(calls: list[Callable[[], T]]) -> list[T]:
    """Run the calls in threads, started together. An error of one is raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(SECONDS)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result(SECONDS) for future in [threads.submit(run, call) for call in calls]]
