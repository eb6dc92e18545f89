"""Each bug that is put in on purpose is found by a seed below 1,000, which is kept here: with the bug its schedule
breaks a promise, and without it none."""

import pytest
from planted_bugs import BUGS, MAX_SEEDS, Bug, broken_by

CAUGHT = {
    "reset instead of publish": (1, "was the head once and is not in the history"),
    "no second attempt fence": (1, "published without having seen after staging that it was current"),
    "blind retry after a timeout": (5, "without having seen after staging"),
    "cache shared by hard link": (3, "has wrong content"),
    "no name check": (131, "escaped.txt"),
    "heartbeat not joined": (37, "reports beside a heartbeat"),
    "no fence before a report": (85, "nothing ends"),
    "a person's commit taken for abandoned": (0, "replaces the foreign commit"),
    "what a try may still adopt is replaced": (2, "replaces the foreign commit"),
    "secrets in stamps": (1, "a secret is in"),
    "what comes along with a dropped report is forgotten": (148, "neither began it nor gave it back"),
    "stamps of cherry-picks count": (38, "published twice"),
}
"""Bug -> its seed, and part of what is broken. Whoever changes the simulator looks for them anew with
`python tests/simulator/planted_bugs.py`."""


def test_every_planted_bug_has_its_seed():
    assert CAUGHT.keys() == BUGS.keys()
    assert all(seed < MAX_SEEDS for seed, _ in CAUGHT.values())


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_bug_is_caught_by_its_seed(fast_path, name):
    """Where the code of a worker has changed, so have the schedules: then another seed below 1,000 has to catch it."""
    seed, expected = CAUGHT[name]
    for candidate in (seed, *range(MAX_SEEDS)):
        broken = broken_by(BUGS[name], candidate, fast_path)
        if any(expected in promise for promise in broken):
            break
    else:
        pytest.fail(f"no seed below {MAX_SEEDS} catches it")
    assert broken_by(Bug(), candidate, fast_path) == ()
