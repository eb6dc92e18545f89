"""The series of a stamp, which anyone can write."""

from __future__ import annotations

import pytest

from perago.asking.differences import facts_of
from perago.asking.series import MAX_POINTS, series_of
from tests.unit.index.made_history import entry, stamp


def test_points_are_pairs_of_step_and_value():
    assert series_of(stamp(series={"loss": [[0, 1], [10, 0.5]]})) == {"loss": [(0.0, 1.0), (10.0, 0.5)]}
    assert series_of(stamp()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        1,
        None,
        "text",
        {},
        [],
        [1, 2],
        [[1]],
        [[1, 2, 3]],
        [["0", "1"]],
        [[0, True]],
        [[0, 10**400]],
        [[0, float("nan")]],
    ],
)
def test_what_is_no_point_is_left_out(wrong):
    made = stamp(series={"loss": wrong, "good": [[0, 1]]})
    assert series_of(made) == {"good": [(0.0, 1.0)]}
    assert facts_of(entry("c", stamp=made))["good (last)"] == 1.0


def test_a_series_is_bounded():
    assert len(series_of(stamp(series={"loss": [[n, n] for n in range(5 * MAX_POINTS)]}))["loss"]) == MAX_POINTS
