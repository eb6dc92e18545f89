"""Reading what commits changed within a limit of time."""

from __future__ import annotations

import pytest

from perago.asking.lineage import nearest_results, nearest_sources
from perago.index.history import HistoryIndex
from tests.unit.asking.made_repository import MadeRepository
from tests.unit.index.made_history import stamp

FIRST = 4
"""Commits that are read however short the time is, unless it is over."""


@pytest.fixture
def index(tmp_path):
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as opened:
        yield opened


@pytest.fixture
def made():
    """Thirty commits, each of a task that could read everything."""
    repository = MadeRepository()
    repository.commit("main", {"a": 0})
    for number in range(1, 30):
        repository.commit("main", {"a": number}, stamp=stamp(input_ref=repository.heads["main"], selection={}))
    return repository


def test_what_there_is_no_time_for_is_told_and_known_once_it_was_read(made, index):
    past = made.past(index, seconds=1e-9)
    line = list(past.line(past.head("main")))
    assert [step.entry for step in past.stepped_in_time(line)] == line[:FIRST]
    assert past.unread == line[FIRST:]
    assert list(past.steps(line[FIRST].id)) == []
    later = made.past(index, seconds=0.0)
    assert [step.entry for step in later.steps(line[0].id)] == line[:FIRST]
    later.stepped(line[FIRST:])
    asked = made.asked
    again = made.past(index, seconds=0.0)
    assert [step.entry for step in again.steps(line[0].id)] == line
    assert (again.unread, made.asked) == ([], asked)


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_with_enough_time_all_is_read_once(made, index, seconds):
    past = made.past(index, seconds=seconds)
    assert len(list(past.steps(past.head("main")))) == 30
    assert (past.unread, made.asked) == ([], 30)


def test_a_lineage_that_there_is_no_time_for_is_cut(made, index):
    middle = made.entries[15]
    past = made.past(index, seconds=0.0)
    for found in (nearest_sources(past, middle, commits=500), nearest_results(past, middle.id, commits=500)):
        assert (found.links, found.is_cut) == ((), True)
    past = made.past(index)
    for found in (nearest_sources(past, middle, commits=500), nearest_results(past, middle.id, commits=500)):
        assert len(found.links) == 1
        assert not found.is_cut


def whole(repository, run, commits, branch="main", **fields):
    """Publish the branch of a run as a whole, with the number of commits that its result tells."""
    result = {"workflow": "w", "branch": run, "ref": repository.heads[run], "commits": commits, "tasks": []}
    stamped = stamp(task="perago.end", result=result, **fields)
    return repository.commit(branch, repository.tree(run), repository.heads[run], stamp=stamped)


def test_a_whole_run_stands_for_what_its_tasks_published(index):
    repository = MadeRepository()
    repository.commit("main", {})
    before = repository.commit("main", {"a": 0}, stamp=stamp(task="before"))
    repository.heads["run"] = before.id
    one = repository.commit("run", {"a": 1}, stamp=stamp(task="one"))
    repository.heads["inner"] = repository.heads["run"]
    two = repository.commit("inner", {"a": 2}, stamp=stamp(task="two"))
    within = whole(repository, "inner", 1, "run")
    repository.commit("run", {"a": 2}, stamp=stamp(task="two", completes=two.id))
    three = repository.commit("run", {"a": 3}, stamp=stamp(task="three"))
    published = whole(repository, "run", 3)
    revert, person = repository.revert("main", published), repository.commit("main", {})
    past = repository.past(index)
    assert list(past.by_tasks(published)) == [three, one, two]
    assert list(past.by_tasks(within)) == [two]
    assert list(past.by_tasks(one)) == [one]
    assert [*past.by_tasks(person), *past.by_tasks(revert)] == []


def test_a_stamp_that_somebody_made_up_costs_little(index):
    repository = MadeRepository()
    repository.commit("main", {})
    made = [repository.commit("main", {"a": 0}, stamp=stamp(task="one"))]
    made += [whole(repository, "main", 10**30) for _ in range(60)]
    assert list(repository.past(index).by_tasks(made[-1])) == made[:1]
    assert list(repository.past(index).by_tasks(whole(repository, "main", -1))) == []
