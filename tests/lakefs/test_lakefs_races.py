"""Writers and a person on one branch of a real lakeFS: one winner a head at most, and nothing is ever lost."""

import os
import sys
from pathlib import Path

import pytest

import figures
from benchmarks.environments import PackageEnvironment
from tests.lakefs.race import WRITERS, race

NAIVE = Path(__file__).with_name("program_race_naive.py")
THEIRS = Path(__file__).with_name("program_race_reference.py")
REFERENCE = PackageEnvironment("perago", "0.6.1", beside=("conductor-python",))
ROUNDS = int(os.environ.get("PERAGO_TEST_RACES", "100"))
QUICK_ROUNDS = 10
REFERENCE_ROUNDS = int(os.environ.get("PERAGO_TEST_REFERENCE_RACES", "0"))
FAULTS = ("two_winners", "unexpected", "lost_heads", "ghosts", "strangers")


@pytest.mark.quick
def test_some_rounds_of_five_writers_and_a_person(lakefs_server, counted):
    outcome = race(lakefs_server, QUICK_ROUNDS)
    counted(figures.RACES).update(_counters(outcome))
    assert outcome.faults == {}, outcome
    assert outcome.failures == [], outcome


@pytest.mark.timeout(900 + 2 * ROUNDS)
def test_many_rounds_of_five_writers_and_a_person(lakefs_server, counted):
    outcome = race(lakefs_server, ROUNDS)
    counted(figures.RACES).update(_counters(outcome))
    assert outcome.faults == {}, outcome
    assert outcome.failures == [], outcome
    assert outcome.contested >= 0.3 * ROUNDS, "too few rounds were races"
    assert outcome.vetoed >= 0.25 * ROUNDS, "the server's hook was hardly ever asked by a loser"
    assert outcome.by_hand >= 0.3 * ROUNDS, "the person came too seldom"
    assert outcome.between >= 0.05 * ROUNDS, "the person hardly ever came first"


def test_writers_wait_for_the_commit_of_a_persons_own_change_and_lose_to_it(lakefs_server):
    """Nothing is merged onto it, and on a busy machine a person takes seconds from the upload to the commit."""
    outcome = race(lakefs_server, 1, ways=("commit",), lead_seconds=(0.5, 0.5), linger_seconds=4.0)
    assert outcome.faults == {}, outcome
    assert outcome.failures == [], outcome
    assert (outcome.by_hand, outcome.lost, outcome.disturbed) == (1, WRITERS, 0), outcome


def test_an_uncommitted_change_that_nobody_is_about_to_commit_is_a_failure(lakefs_server):
    outcome = race(lakefs_server, 1, ways=("leave",), lead_seconds=(0.5, 0.5))
    assert outcome.disturbed == 0, outcome
    assert len(outcome.failures) == WRITERS, outcome


@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not REFERENCE_ROUNDS, reason="made by hand, with `make prove`: the reference's races are none of CI's"
)
def test_the_reference_on_the_same_harness(lakefs_server, counted):
    REFERENCE.make()
    outcome = race(lakefs_server, REFERENCE_ROUNDS, program=(str(REFERENCE.python), str(THEIRS)))
    counted(figures.REFERENCE_RACES).update(_counters(outcome))
    assert outcome.rounds == REFERENCE_ROUNDS


def _counters(outcome):
    names = ("rounds", "published", "lost", "failed", "by_hand", *FAULTS)
    return {name: getattr(outcome, name) for name in names}


@pytest.mark.parametrize(("way", "fault"), [("merge", "unexpected"), ("reset", "lost_heads")])
def test_the_race_notices_writers_without_a_fence(lakefs_server, way, fault):
    outcome = race(lakefs_server, 12, program=(sys.executable, str(NAIVE), way))
    assert outcome.faults[fault], outcome
    assert outcome.faults["two_winners"], outcome
