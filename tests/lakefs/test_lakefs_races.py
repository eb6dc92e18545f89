"""Writers and a person on one branch of a real lakeFS: one winner a head at most, and nothing is ever lost."""

import sys
from pathlib import Path

import pytest
from race import race

NAIVE = Path(__file__).with_name("program_race_naive.py")


@pytest.mark.parametrize(("way", "fault"), [("merge", "unexpected"), ("reset", "lost_heads")])
def test_the_race_notices_writers_without_a_fence(lakefs_server, way, fault):
    outcome = race(lakefs_server, 12, program=(sys.executable, str(NAIVE), way))
    assert outcome.faults[fault], outcome
    assert outcome.faults["two_winners"], outcome
