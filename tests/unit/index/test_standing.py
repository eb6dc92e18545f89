"""Reverts, and reverts of reverts, as plain facts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perago.index.standing import Revert, is_reverted


def reverts(*told: tuple[str, int, str, bool]):
    """Each: claimant, its rank, the commit it reverts, whether its name for that is sure."""
    return lambda commit: [Revert(by, rank, is_sure) for by, rank, reverted, is_sure in told if reverted == commit]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], False),
        ([("r1", 1, "x", True)], True),
        ([("r1", 1, "x", True), ("r2", 2, "r1", True)], False),
        ([("r1", 1, "x", True), ("r2", 2, "r1", True), ("r3", 3, "r2", True)], True),
        ([("r1", 1, "x", True), ("r2", 2, "r1", True), ("r3", 3, "x", True)], True),
        ([("r1", 1, "x", True), ("q1", 1, "x", True), ("r2", 2, "r1", True)], True),
        ([("r1", 1, "x", True), ("q1", 1, "x", True), ("r2", 2, "r1", True), ("q2", 2, "q1", True)], False),
    ],
)
def test_a_revert_of_a_revert_counts_the_first_one_again(told, expected):
    assert is_reverted("x", reverts(*told)) is expected


def test_an_ambiguous_name_reverts_but_takes_no_revert_back():
    assert is_reverted("x", reverts(("r1", 1, "x", False)))
    assert is_reverted("x", reverts(("r1", 1, "x", True), ("r2", 2, "r1", False)))


def test_commits_that_name_each_other_are_no_circle():
    assert is_reverted("x", reverts(("r1", 1, "x", True), ("r2", 2, "r1", True), ("r1", 1, "r2", True))) is False
    assert is_reverted("x", reverts(("r1", 1, "x", True), ("r1", 1, "r1", True))) is True


def test_a_long_chain_is_followed_to_its_end():
    links = [("r0", 0, "x", True), *((f"r{n}", n, f"r{n - 1}", True) for n in range(1, 5_000))]
    by_reverted = {reverted: [Revert(by, rank, is_sure)] for by, rank, reverted, is_sure in links}
    assert is_reverted("x", lambda commit: by_reverted.get(commit, [])) is False


def test_many_that_revert_each_other_are_looked_at_once_each():
    """Layers of reverts, each of which reverts all of the layer below: paths through them are beyond number."""
    layers = [[f"r{layer}-{n}" for n in range(10)] for layer in range(30)]
    by_reverted = {"x": [Revert(by, 0, is_sure=True) for by in layers[0]]}
    for rank, (below, above) in enumerate(pairwise(layers), start=1):
        by_reverted |= {commit: [Revert(by, rank, is_sure=True) for by in above] for commit in below}
    assert is_reverted("x", lambda commit: by_reverted.get(commit, [])) is False
