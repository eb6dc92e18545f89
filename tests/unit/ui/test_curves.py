"""Series as lines: their places in a plot, and their bounds."""

from __future__ import annotations

from perago.ui.curves import HEIGHT, MAX_CURVES, MAX_DRAWN, WIDTH, Drawn, curves_of, thinned


def drawn(*points, commit="c"):
    return Drawn(name="train", commit=commit, time="", params={}, points=points)


def test_lines_share_their_axes():
    found = curves_of("loss", [drawn((0, 4), (10, 2)), drawn((0, 3), (20, 0))])
    assert (found.x_range, found.y_range) == ((0, 20), (0, 4))
    assert [one.line for one in found.curves] == [
        f"0,0 {WIDTH // 2},{HEIGHT // 2}",
        f"0,{HEIGHT // 4} {WIDTH},{HEIGHT}",
    ]
    first = found.curves[0]
    assert (first.count, first.first, first.last, first.least, first.most) == (2, 4, 2, 2, 4)


def test_a_point_alone_is_in_the_middle():
    assert curves_of("loss", [drawn((7, 7))]).curves[0].line == f"{WIDTH // 2},{HEIGHT // 2}"


def test_lines_and_points_are_bounded():
    found = curves_of("loss", [drawn((0, number)) for number in range(MAX_CURVES + 3)] + [drawn()])
    assert (len(found.curves), found.left_out) == (MAX_CURVES, 3)
    points = [(float(number), 0.0) for number in range(10_000)]
    assert len(thinned(points)) == MAX_DRAWN
    assert (thinned(points)[0], thinned(points)[-1]) == (points[0], points[-1])
