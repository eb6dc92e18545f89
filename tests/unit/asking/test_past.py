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
