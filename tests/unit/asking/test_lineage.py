"""What a commit was made from, and what was made from it, compared with a search by hand."""

from __future__ import annotations

from collections import defaultdict

import pytest

from perago.asking.lineage import made_from, made_of, nearest_results, nearest_sources, reads
from perago.index.history import HistoryIndex
from tests.unit.asking.made_repository import MadeRepository, made_at_random
from tests.unit.asking.test_blame import maker
from tests.unit.index.made_history import stamp

SEEDS = range(25)


@pytest.fixture
def index(tmp_path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


def links(found):
    return {made.entry.id: {link.entry.id: link.paths for link in made.sources} for made in found}


@pytest.mark.property
@pytest.mark.parametrize("seed", SEEDS)
def test_a_commit_was_made_from_those_whose_files_its_task_could_read(index, seed):
    made = made_at_random(seed, 40)
    past = made.past(index)
    start = past.head("main")
    expected, waiting = {}, [start]
    entries = {each.id: each for each in made.entries}
    while waiting:
        at = waiting.pop()
        if at not in expected:
            sources = defaultdict(list)
            task = entries[at].stamp
            for path in sorted(reads(task, made.trees[task.input_ref])) if task is not None else ():
                sources[maker(made, task.input_ref, path)].append(path)
            expected[at] = {source: tuple(paths) for source, paths in sources.items()}
            waiting += sources
    assert links(made_from(past, start)) == expected


@pytest.mark.property
@pytest.mark.parametrize("seed", SEEDS)
def test_what_was_made_of_a_commit_read_its_files_or_what_was_made_of_them(index, seed):
    made = made_at_random(seed, 60)
    past = made.past(index)
    entries = {each.id: each for each in made.entries}
    line = [past.head("main")]
    while entries[line[-1]].parents:
        line.append(entries[line[-1]].parents[0])
    line.reverse()
    start = line[seed % len(line)]

    def writer(position: int, path: str) -> str | None:
        """The commit on the line, up to a position, that changed a path last; or that made what a revert gave back."""
        for at in range(position, -1, -1):
            before = made.trees[line[at - 1]].get(path) if at else None
            if made.trees[line[at]].get(path) != before:
                by = entries[line[at]].stamp
                reverts = [] if by is None else by.reverts
                return writer(line.index(reverts[-1]) - 1, path) if reverts else line[at]
        return None

    derived, expected = {start}, {}
    for commit in line[line.index(start) + 1 :]:
        task = entries[commit].stamp
        if task is None or task.input_ref not in line or line.index(task.input_ref) < line.index(start):
            continue
        at, sources = line.index(task.input_ref), defaultdict(list)
        for path in sorted(reads(task, made.trees[task.input_ref])):
            if (of := writer(at, path)) in derived:
                sources[of].append(path)
        if sources:
            derived.add(commit)
            expected[commit] = {source: tuple(paths) for source, paths in sources.items()}
    found = {commit: sources for commit, sources in links(made_of(past, start)).items() if commit in line}
    assert found == expected


def test_what_a_stamp_of_an_earlier_version_read_is_taken_for_everything():
    assert reads(stamp(), ["a", "b/c"]) == ["a", "b/c"]
    assert reads(stamp(selection={"include": [7]}), ["a"]) == []


def test_what_people_do_by_commands_reads_nothing():
    for fields in ({"reverts": ("a" * 64,)}, {"distrusts": "a" * 64}, {"trusts": "a" * 64}):
        assert reads(stamp(**fields), ["a", "b/c"]) == []


def test_what_a_revert_gave_back_is_read_as_of_the_commit_that_made_it(index):
    made = MadeRepository()
    first = made.commit("main", {"raw": 1, "other": 1})
    spec = {"include": ["raw"], "outputs": ["out"]}
    of_raw = made.commit("main", {"raw": 1, "other": 1, "out": 1}, stamp=stamp(input_ref=first.id, selection=spec))
    undone = made.revert("main", of_raw)
    redone = made.revert("main", undone)
    reader = stamp(input_ref=redone.id, selection={"include": ["out"]})
    last = made.commit("main", {**made.trees[redone.id], "more": 1}, stamp=reader)
    past = made.past(index)
    assert links(made_from(past, last.id)) == {
        last.id: {of_raw.id: ("out",)},
        of_raw.id: {first.id: ("raw",)},
        first.id: {},
    }
    assert links(made_of(past, of_raw.id)) == {last.id: {of_raw.id: ("out",)}}
    assert [link.entry.id for link in nearest_sources(past, last, commits=10).links] == [of_raw.id]
    assert [link.entry.id for link in nearest_results(past, of_raw.id, commits=10).links] == [last.id]
    assert made_of(past, undone.id) == []
    assert nearest_sources(past, redone, commits=10).links == ()


def test_what_a_commit_changed_is_asked_for_only_since_the_one_in_question(index):
    made = MadeRepository()
    for number in range(50):
        made.commit("main", {"a": number})
    made.heads["side"] = made.heads["main"]
    start = made.commit("main", {"a": 50})
    made.commit("side", {"a": 51})
    of_it = made.commit("main", {"a": 50, "b": 1}, stamp=stamp(input_ref=start.id))
    assert [each.entry.id for each in made_of(made.past(index), start.id)] == [of_it.id]
    assert made.asked == 2


def test_only_some_files_of_a_commit(index):
    made = MadeRepository()
    first = made.commit("main", {"a": 1, "b": 1})
    of_a = made.commit("main", {"a": 1, "b": 1, "x": 1}, stamp=stamp(input_ref=first.id, selection={"include": ["a"]}))
    made.commit("main", {"a": 1, "b": 1, "x": 1, "y": 1}, stamp=stamp(input_ref=first.id, selection={"include": ["b"]}))
    assert [each.entry.id for each in made_of(made.past(index), first.id, ["a"])] == [of_a.id]


@pytest.mark.property
@pytest.mark.parametrize("seed", SEEDS)
def test_the_nearest_are_those_of_the_whole_answer(index, seed):
    made = made_at_random(seed, 40)
    past = made.past(index)
    for each in made.entries:
        if past.entry(each.id) is None:
            continue
        before = nearest_sources(past, each, commits=1_000)
        whole = [(link.entry.id, link.paths) for one in made_from(past, each.id, limit=1) for link in one.sources]
        assert (sorted((link.entry.id, link.paths) for link in before.links), before.is_cut) == (sorted(whole), False)
        after = nearest_results(past, each.id, commits=1_000)
        expected = {
            one.entry.id: link.paths
            for one in made_of(past, each.id)
            for link in one.sources
            if link.entry.id == each.id
        }
        assert ({link.entry.id: link.paths for link in after.links}, after.is_cut) == (expected, False)


def test_the_nearest_are_looked_for_among_a_number_of_commits_alone(index):
    made = MadeRepository()
    first = made.commit("main", {"a": 0})
    for number in range(50):
        made.commit("main", {"a": 0, "b": number})
    last = made.commit("main", {"a": 0, "c": 1}, stamp=stamp(input_ref=made.heads["main"]))
    past = made.past(index)
    assert past.entry(last.id) is not None
    near = nearest_sources(past, last, commits=5)
    assert ([link.paths for link in near.links], near.is_cut) == ([("b",)], True)
    assert [link.paths for link in nearest_sources(past, last, commits=60).links] == [("b",), ("a",)]
    assert nearest_results(past, first.id, commits=5).is_cut
    assert [link.entry.id for link in nearest_results(past, first.id, commits=60).links] == [last.id]
