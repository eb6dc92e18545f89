"""Positions of the bars that show when tasks ran."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perago.ui.timeline import MAX_ROWS, WIDTH, Span, Timeline, timeline_of

BEGUN = datetime(2026, 11, 29, tzinfo=UTC)


def span(name, begin, seconds, number=1):
    started = BEGUN + timedelta(seconds=begin)
    return Span(name=name, number=number, status="COMPLETED", started=started, seconds=seconds)


def test_bars_have_their_place_in_the_whole_run():
    found = timeline_of([span("a", 0, 4, 1), span("b", 5, 5), span("a", 4, 1, 2)])
    assert found.seconds == 10
    assert [(row.name, [(bar.x, bar.width) for bar in row.bars]) for row in found.rows] == [
        ("a", [(0, 400), (400, 100)]),
        ("b", [(500, 500)]),
    ]


def test_a_short_task_is_seen_and_none_leaves_the_picture():
    found = timeline_of([span("a", 0, 10_000), span("b", 10_000, 0)])
    for row in found.rows:
        for bar in row.bars:
            assert bar.width > 0
            assert bar.x + bar.width <= WIDTH


def test_of_many_tasks_the_longest_are_shown_in_their_order():
    found = timeline_of([span(f"t{n}", n, n) for n in range(MAX_ROWS + 5)])
    assert [row.name for row in found.rows] == [f"t{n}" for n in range(5, MAX_ROWS + 5)]
    assert found.left_out == 5


def test_nothing_ran():
    assert timeline_of([]) == Timeline()
