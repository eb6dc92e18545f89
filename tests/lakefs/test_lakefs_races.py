"""Writers and a person on one branch of a real lakeFS: one winner a head at most, and nothing is ever lost."""

import sys
from pathlib import Path

import pytest
from race import race

NAIVE = Path(__file__).with_name("program_race_naive.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_rounds_of_five_writers_and_a_person(lakefs_server, counted):
    outcome = race(lakefs_server, 200)
    swaps = {"won": outcome.published, "lost": outcome.lost, "failed": outcome.failed}
    counted(f"Swaps in {outcome.rounds} races on a real lakeFS, {outcome.by_hand} commits by hand").update(swaps)
    assert outcome.faults == {}, outcome
    assert outcome.failures == [], outcome
    assert outcome.contested >= 60, "too few rounds were races"
    assert outcome.vetoed >= 50, "the server's hook was hardly ever asked by a loser"
    assert outcome.by_hand >= 60, "the person came too seldom"
    assert outcome.between >= 10, "the person hardly ever came first"


@pytest.mark.parametrize(("way", "fault"), [("merge", "unexpected"), ("reset", "lost_heads")])
def test_the_race_notices_writers_without_a_fence(lakefs_server, way, fault):
    outcome = race(lakefs_server, 12, program=(sys.executable, str(NAIVE), way))
    assert outcome.faults[fault], outcome
    assert outcome.faults["two_winners"], outcome
