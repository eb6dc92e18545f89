"""Each bug that is put in on purpose is found by a seed below 1,000, which is kept here: with the bug its schedule
breaks a promise, and without it none."""

import pytest

from planted_bugs import BUGS, CAUGHT, MAX_SEEDS, Bug, broken_by


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
