"""What an index answers to an attempt: where a result comes from, who computes it on a host, and what is left."""

from __future__ import annotations

import os
import time

import pytest

from perago.files.lock import FileLock
from perago.index.results import WAIT_SECONDS, IndexedResults
from tests.unit.index.made_history import entry, since, stamp


@pytest.fixture
def results(tmp_path):
    return IndexedResults(tmp_path / "index", "place", is_server=False)


class Store:
    """What has these commits."""

    def __init__(self, *entries):
        self._since = since(entries)

    def commits_since(self, _repository, known):
        return self._since(known)


MADE = entry("made", seconds=0, stamp=stamp("key"))
ADOPTED = entry("adopted", MADE.id, seconds=60, stamp=stamp("key", completes=MADE.id))


def test_what_a_retry_adopted_comes_from_the_commit_that_it_adopted(results):
    found = results.with_key(Store(MADE, ADOPTED), "data", "key")
    assert [each.commit for each in found] == [ADOPTED.id, MADE.id]
    assert {(each.outputs, each.origin, each.made) for each in found} == {(MADE.id, MADE.id, MADE.time)}


def test_what_changed_nothing_is_its_own_source(results):
    seal = entry("seal", seconds=0, stamp=stamp("key", input_ref=MADE.id, completes=MADE.id))
    (found,) = results.with_key(Store(seal), "data", "key")
    assert (found.commit, found.outputs, found.origin) == (seal.id, MADE.id, seal.id)


def test_what_was_taken_of_an_adopted_result_is_distrusted_with_it(results):
    (newest, *_) = results.with_key(Store(MADE, ADOPTED), "data", "key")
    taken = entry("taken", ADOPTED.id, seconds=120, stamp=stamp("key", cached_from=newest.origin))
    said = entry("said", taken.id, seconds=180, stamp=stamp(None, completes=MADE.id, distrusts=MADE.id))
    assert results.with_key(Store(MADE, ADOPTED, taken, said), "data", "key") == []


def test_the_reason_for_not_using_a_result_may_lie_in_the_commit_that_it_comes_from(results):
    taken = entry("taken", MADE.id, seconds=120, stamp=stamp("key", cached_from=MADE.id))
    said = entry("said", taken.id, seconds=180, stamp=stamp(None, completes=MADE.id, distrusts=MADE.id))
    other = entry("other", said.id, seconds=240, stamp=stamp("key"))
    results.with_key(Store(MADE, taken, said, other), "data", "key")
    for commit in (MADE, taken):
        assert results.standing("data", commit.id) == "distrusted"
    assert results.standing("data", other.id) is None


def compute(results, key="key"):
    with results.computing("data", key, bool) as has_waited:
        assert not has_waited


def test_nothing_is_left_of_what_was_computed(results):
    compute(results)
    assert list(results.directory.iterdir()) == []


def test_lock_files_of_killed_processes_go_in_time_and_held_ones_stay(results):
    compute(results)
    left, held, young = (results.directory / f"computing-{name}" for name in ("left", "held", "young"))
    for path in (left, held, young):
        path.touch()
    for path in (left, held):
        os.utime(path, (time.time() - WAIT_SECONDS - 60,) * 2)
    with FileLock.try_acquire(held):
        compute(results)
    assert {*results.directory.iterdir()} == {held, young}
