"""Each bug that is put in on purpose is found by a seed below 1,000, which is kept here: with the bug its schedule
breaks a promise, and without it none."""

import pytest
from planted_bugs import BUGS, MAX_SEEDS, Bug, broken_by

CAUGHT = {
    "reset instead of publish": (7, "not on its branch"),
    "no second attempt fence": (0, "published without having seen after staging that it was current"),
    "blind retry after a timeout": (31, "was published over the outcome"),
    "cache shared by hard link": (3, "has wrong content of"),
    "no name check": (18, "escaped.txt"),
    "heartbeat not joined": (7, "reports beside its own heartbeat"),
    "no fence before a report": (34, "nothing ends"),
    "a person's commit taken for abandoned": (1, "which foreign commits changed"),
    "what a try may still adopt is replaced": (7, "which foreign commits changed"),
    "stamps of cherry-picks count": (14, "published twice"),
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
