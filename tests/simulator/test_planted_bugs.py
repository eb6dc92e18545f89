"""Each bug that is put in on purpose is found by a seed below 1,000, which is kept here: with the bug its schedule
breaks a promise, and without it none."""

import pytest
from planted_bugs import BUGS, MAX_SEEDS, Bug, broken_by

CAUGHT = {
    "reset instead of publish": (1, "was the head once and is not in the history"),
    "no second attempt fence": (0, "published without having seen after staging that it was current"),
    "blind retry after a timeout": (5, "without having seen after staging"),
    "cache shared by hard link": (0, "saw other content than its input's"),
    "no name check": (54, "escaped.txt"),
    "heartbeat not joined": (38, "reports beside a heartbeat"),
    "no fence before a report": (3, "nothing ends"),
    "a person's commit taken for abandoned": (1, "replaces the foreign commit"),
    "what a try may still adopt is replaced": (19, "which foreign commits changed"),
    "stamps of cherry-picks count": (26, "published twice"),
}
"""Bug -> its seed, and part of what is broken. Whoever changes the simulator looks for them anew with
`python tests/simulator/planted_bugs.py`."""


def test_every_planted_bug_has_its_seed():
    assert CAUGHT.keys() == BUGS.keys()
    assert all(seed < MAX_SEEDS for seed, _ in CAUGHT.values())


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_bug_is_caught_by_its_seed(fast_path, name):
    seed, expected = CAUGHT[name]
    assert any(expected in broken for broken in broken_by(BUGS[name], seed, fast_path))


@pytest.mark.parametrize("name", CAUGHT)
def test_the_same_seed_breaks_nothing_without_the_bug(fast_path, name):
    seed, _ = CAUGHT[name]
    assert broken_by(Bug(), seed, fast_path) == ()
