"""The answers of an index, against plain Python over all commits, for histories that nobody would think of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from perago.index.history import HistoryIndex
from perago.index.standing import Standing
from perago.ports import CommitEntry
from tests.unit.index.made_history import BEGIN, entry, id_of, since, stamp

KEYS, TASKS = ("key-1", "key-2"), ("train", "test")
KINDS = ("plain", "keyed", "keyed", "git", "git", "lakefs", "judges", "reverts and has a key")
ALL = 1_000


@dataclass(frozen=True)
class Story:
    """A history, oldest first, with what its messages mean.

    Attributes:
        names: by commit, the ids that it reverts, as its message has them.
    """

    commits: list[CommitEntry] = field(default_factory=list)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Oracle:
    """What is to be said of these commits."""

    def __init__(self, commits: Iterable[CommitEntry], story: Story) -> None:
        self.commits = {each.id: each for each in commits}
        self.names = {commit: story.names.get(commit, ()) for commit in self.commits}

    def newest_first(self) -> list[CommitEntry]:
        return sorted(self.commits.values(), key=lambda each: self.order(each.id), reverse=True)

    def order(self, commit: str) -> tuple[int, str]:
        return self.ranks[commit], commit

    @cached_property
    def ranks(self) -> dict[str, int]:
        ranks: dict[str, int] = {}
        for each in self.commits.values():  # oldest first
            time = (each.time - BEGIN) // timedelta(microseconds=1)
            ranks[each.id] = max([time, *(ranks[parent] + 1 for parent in each.parents)])
        return ranks

    def reverts(self, commit: str) -> list[tuple[str, bool]]:
        """Who reverts it, and whether it is the only one with that name."""
        return [
            (claimant, sum(each.startswith(name) for each in self.commits) == 1)
            for claimant, names in self.names.items()
            for name in names
            if commit.startswith(name) and claimant != commit
        ]

    def counts(self, revert: str) -> bool:
        return not any(
            is_sure and self.order(by) > self.order(revert) and self.counts(by) for by, is_sure in self.reverts(revert)
        )

    def is_distrusted(self, commit: str) -> bool:
        for each in self.newest_first():
            if each.stamp is not None and each.stamp.trusts == commit != each.stamp.distrusts:
                return False
            if each.stamp is not None and each.stamp.distrusts == commit:
                return True
        return False

    def standing(self, commit: str) -> Standing:
        if self.is_distrusted(commit):
            return Standing.DISTRUSTED
        if any(self.counts(claimant) for claimant, _ in self.reverts(commit)):
            return Standing.REVERTED
        if any(each.stamp is not None and commit in each.stamp.abandoned for each in self.commits.values()):
            return Standing.REPLACED
        return Standing.EFFECTIVE

    def with_key(self, key: str) -> list[CommitEntry]:
        return [each for each in self.of("cache_key", key) if self.standing(each.id) == "effective"]

    def of_task(self, task: str) -> list[CommitEntry]:
        return [each for each in self.of("task", task) if each.stamp.cache_key is not None]

    def of(self, what: str, value: str) -> list[CommitEntry]:
        stamped = [each for each in self.newest_first() if each.stamp is not None]
        return [each for each in stamped if getattr(each.stamp, what) == value]

    def expect(self, index: HistoryIndex) -> None:
        for commit in self.commits:
            assert index.commit(commit) == self.commits[commit]
            assert index.standing(commit) is self.standing(commit)
        for key in KEYS:
            assert index.with_key(key, limit=ALL) == self.with_key(key)
            assert index.with_key(key, limit=2) == self.with_key(key)[:2]
        for task in TASKS:
            assert index.of_task(task, limit=ALL) == self.of_task(task)


@st.composite
def stories(draw) -> Story:
    """Half of the commits have ids with one beginning, so that abbreviations may be ambiguous."""
    story = Story()
    for number in range(draw(st.integers(1, 12))):
        earlier = [each.id for each in story.commits]
        some = st.lists(st.sampled_from(earlier), max_size=2, unique=True) if earlier else st.just([])
        one = st.sampled_from(earlier) if earlier else st.just(id_of("none"))
        commit_id = ("ab" * 4 if draw(st.booleans()) else "") + id_of(number)
        parents, at = draw(some), draw(st.integers(0, 4))
        stamped, message, subject, names = None, "", f"commit {number}", ()
        match draw(st.sampled_from(KINDS)):
            case "keyed":
                stamped = _stamp(draw, some)
            case "git" | "reverts and has a key" as kind:
                names = tuple(name[: draw(st.sampled_from([7, 8, 12, 64]))] for name in draw(some))
                message = "\n".join(f"This reverts commit {name}." for name in names)
                stamped = _stamp(draw, some) if kind != "git" else None
            case "lakefs":
                names = (draw(one)[: draw(st.sampled_from([7, 64]))],)
                subject = f"Revert {names[0]}"
            case "judges":
                stamped = stamp(**{draw(st.sampled_from(["distrusts", "trusts"])): draw(one)})
        made = entry(number, *parents, seconds=at, subject=subject, message=message, stamp=stamped, id=commit_id[:64])
        story.commits.append(made)
        story.names[made.id] = names
    return story


def _stamp(draw, some):
    return stamp(
        draw(st.sampled_from([*KEYS, None])),
        task=draw(st.sampled_from(TASKS)),
        abandoned=tuple(draw(some)),
        completes=draw(st.sampled_from([None, id_of("input")])),
    )


def below(story: Story, heads: set[str]) -> list[CommitEntry]:
    """The commits of which these have all that came before, oldest first."""
    reached = set(heads)
    for each in reversed(story.commits):
        if each.id in reached:
            reached.update(each.parents)
    return [each for each in story.commits if each.id in reached]


@settings(max_examples=100)
@given(story=stories(), data=st.data())
def test_an_index_answers_as_all_commits_do_whenever_it_is_refreshed(story, data):
    order = data.draw(st.randoms(use_true_random=False))
    ids = [each.id for each in story.commits]
    with tempfile.TemporaryDirectory() as directory, HistoryIndex(Path(directory, "a.sqlite")) as index:
        heads: set[str] = set()
        for pushed in data.draw(st.lists(st.sets(st.sampled_from(ids)), max_size=3)):
            heads |= pushed
            before = index.refresh(since(below(story, heads), order))
            assert index.refresh(since(below(story, heads), order)) == 0, before
            Oracle(below(story, heads), story).expect(index)
        index.refresh(since(story.commits, order))
        Oracle(story.commits, story).expect(index)
        with HistoryIndex(Path(directory, "b.sqlite")) as whole:
            assert whole.refresh(since(story.commits, Random(0))) == len(ids)
            Oracle(story.commits, story).expect(whole)
