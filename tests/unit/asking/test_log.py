"""Which commits of a branch somebody asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perago.asking.log import Undone, Wanted, as_log_entry, read_time, steps_of
from perago.errors import TaskInputError
from perago.index.history import HistoryIndex
from perago.workspace.patterns import Selection
from tests.unit.asking.made_repository import MadeRepository, difference, made_at_random
from tests.unit.index.made_history import BEGIN, stamp

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def index(tmp_path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


def line(made: MadeRepository, branch: str = "main"):
    entries = {each.id: each for each in made.entries}
    at = made.heads[branch]
    while True:
        yield entries[at]
        if not entries[at].parents:
            return
        at = entries[at].parents[0]


@pytest.mark.property
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "patterns", [["raw"], ["clean/a"], ["*/b"], ["model/**"], ["nowhere"], ["raw/a", "raw/c"], ["raw/?", "model/b"]]
)
def test_commits_by_path_are_those_that_changed_it(index, seed, patterns):
    made = made_at_random(seed, 150)
    past = made.past(index)
    selection = Selection(patterns)

    def touches(entry):
        before = made.trees[entry.parents[0]] if entry.parents else {}
        changes = difference(before, made.trees[entry.id])
        return any(map(selection.selects, (*changes.added, *changes.modified, *changes.deleted)))

    found = [step.entry.id for step, _ in steps_of(past, past.head("main"), Wanted(paths=tuple(patterns)))]
    assert found == [entry.id for entry in line(made) if touches(entry)]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"task": "train"}, [2]),
        ({"task": "pipeline"}, [3]),
        ({"run": "run-1"}, [2]),
        ({"run": "run"}, [3, 2]),
        ({"author": "aDa"}, [3, 2, 0]),
        ({"since": BEGIN + timedelta(seconds=1)}, [3, 2, 1]),
        ({"until": BEGIN + timedelta(seconds=1)}, [1, 0]),
        ({"author": "Bob", "task": "train"}, []),
        ({"paths": ("b",), "author": "ada"}, [2]),
    ],
)
def test_a_commit_has_all_that_is_wanted(index, wanted, found):
    made = MadeRepository()
    made.commit("main", {"a": 1})
    made.commit("main", {"a": 2}, author="Bob")
    made.commit("main", {"a": 2, "b": 1}, stamp=stamp())
    published = {"workflow": "pipeline", "branch": "b", "ref": "c", "commits": 0, "tasks": []}
    whole = stamp(task="perago.end", workflow_instance_id="run-2", result=published)
    made.commit("main", {"a": 3, "b": 1}, stamp=whole)
    past = made.past(index)
    steps = [step for step, _ in steps_of(past, past.head("main"), Wanted(**wanted))]
    assert [step.entry.id for step in steps] == [made.entries[number].id for number in found]


def test_for_a_single_file_all_changes_are_read_only_of_commits_that_are_listed(index):
    made = made_at_random(3, 100)
    past = made.past(index)
    [path, *_] = made.trees[past.head("main")]
    listed = [step for step, _ in steps_of(past, past.head("main"), Wanted(paths=(f"/{path}",)))]
    assert made.asked_whole == len(listed) < made.asked


def test_a_name_that_no_file_can_have_matches_nothing(index):
    past = made_at_random(3, 20).past(index)
    assert list(steps_of(past, past.head("main"), Wanted(paths=("../raw/a",)))) == []


def test_what_is_too_old_is_not_looked_at(index):
    made = MadeRepository()
    for number in range(100):
        made.commit("main", {"a": number})
    days = timedelta(days=5)
    last = made.commit("main", {"a": -1}, seconds=days.total_seconds())
    past = made.past(index)
    wanted = Wanted(paths=("a",), since=BEGIN + days)
    assert [step.entry.id for step, _ in steps_of(past, last.id, wanted)] == [last.id]
    assert made.asked < 100


def test_a_commit_is_listed_with_the_number_of_its_changes(index):
    made = MadeRepository()
    made.commit("main", {"a": 1, "b": 1})
    last = made.commit("main", {"a": 2, "c": 1, "d": 1})
    past = made.past(index)
    newest = as_log_entry(next(steps_of(past, last.id, Wanted()))[0])
    assert (newest.id, newest.added, newest.modified, newest.deleted) == (last.id, 2, 1, 1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("7d", NOW - timedelta(days=7)),
        (" 90m ", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-11-01T10:00+02:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T10:00Z", datetime(2026, 11, 1, 10, tzinfo=UTC)),
    ],
)
def test_times_are_read(text, time):
    assert read_time(text, NOW) == time


@pytest.mark.parametrize("text", ["", "yesterday", "7y", "999999w", "2026-13-01"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(TaskInputError, match="is not a time"):
        read_time(text, NOW)


def test_what_reverts_and_distrusts_a_commit_is_told_of_it():
    def told(*stamps):
        undone = Undone()
        newest_first = [(str(number), given) for number, given in enumerate(stamps, 1)][::-1]
        return {name: by for name, given in newest_first if (by := undone.by(name, given)) != (None, None)}

    made = stamp()
    assert told(made, made, stamp(reverts=("2", "1"))) == {"1": ("3", None), "2": ("3", None)}
    assert told(made, stamp(reverts=("1",)), stamp(reverts=("2",))) == {"2": ("3", None)}
    assert told(made, stamp(reverts=("1",)), stamp(reverts=("2",)), stamp(reverts=("3",))) == {
        "1": ("2", None),
        "3": ("4", None),
    }
    assert told(made, stamp(distrusts="1"), stamp(distrusts="1")) == {"1": (None, "3")}
    assert told(made, stamp(distrusts="1"), stamp(trusts="1")) == {}
