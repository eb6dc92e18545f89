"""The pace: near to the best level on any link, bounded, back after refusals; on a simulated server with a clock."""

import heapq
import itertools

import pytest

from perago.http.pace import NEARBY, Pace


class Server:
    """So many calls are worked on at a time, each for so long; others wait in line. The way takes `round_trip`."""

    def __init__(self, *, round_trip, workers=2, seconds=0.0006, refuses_beyond=None):
        self.round_trip = round_trip
        self.seconds = seconds
        self.free = [0.0] * workers
        self.refuses_beyond = refuses_beyond

    def answer_at(self, now, under_way):
        """When the answer to a call sent now arrives, and whether it is one."""
        if self.refuses_beyond is not None and under_way > self.refuses_beyond:
            return now + self.round_trip + 0.05, False  # with the pause before the next try
        begins = max(now + self.round_trip / 2, heapq.heappop(self.free))
        heapq.heappush(self.free, begins + self.seconds)
        return begins + self.seconds + self.round_trip / 2, True


def run(pace, server, calls):
    """Make so many calls; returns the seconds, and the calls under way at each time."""
    now, left, refused, levels = 0.0, calls, 0, []
    under_way, order = [], itertools.count()
    while left or under_way:
        while left and len(under_way) < pace.limit:
            left -= 1
            ends, is_answer = server.answer_at(now, len(under_way) + 1)
            heapq.heappush(under_way, (ends, next(order), now, is_answer))
        levels.append(len(under_way))
        now, _, began, is_answer = heapq.heappop(under_way)
        if is_answer:
            pace.answered(now - began)
        else:
            pace.refused()
            left += 1
            refused += 1
    return now, levels, refused


class Fixed(Pace):
    """A fixed level."""

    def answered(self, seconds):
        pass


def fixed(level, calls, **server):
    return run(Fixed(level, level), Server(**server), calls)[0]


@pytest.mark.parametrize("round_trip", [0, 0.001, 0.005, 0.02, 0.05, 0.15])
def test_it_is_nearly_as_fast_as_the_best_fixed_level(round_trip):
    seconds, _, _ = run(Pace(256), Server(round_trip=round_trip), 4_000)
    best = min(fixed(level, 4_000, round_trip=round_trip) for level in (8, 24, 48, 100, 256))

    assert seconds <= best * 1.1 + 15 * round_trip  # it begins with 24, and adds 24 in each round trip


@pytest.mark.parametrize("round_trip", [0.05, 0.15])
def test_over_a_link_it_beats_a_hundred_at_a_time(round_trip):
    seconds, levels, _ = run(Pace(256), Server(round_trip=round_trip), 4_000)

    assert max(levels) <= 256
    assert seconds < 0.9 * fixed(100, 4_000, round_trip=round_trip)


def test_a_near_server_gets_no_more_than_it_needs():
    _, levels, _ = run(Pace(256), Server(round_trip=0), 4_000)

    assert max(levels) <= 2 * NEARBY


def test_a_server_that_becomes_slow_gets_fewer():
    server, pace = Server(round_trip=0.05), Pace(256)
    run(pace, server, 4_000)
    before = pace.limit
    server.seconds, server.free = 0.05, [0.0, 0.0]
    run(pace, server, 2_000)

    assert before > 100
    assert pace.limit < before / 2


@pytest.mark.parametrize("round_trip", [0, 0.05])
def test_a_server_that_refuses_gets_as_many_as_it_takes(round_trip):
    _, levels, refused = run(Pace(256), Server(round_trip=round_trip, refuses_beyond=10), 4_000)

    assert refused < 0.5 * 4_000
    assert sum(levels[1_000:]) / len(levels[1_000:]) <= 20


def test_it_recovers_from_a_time_of_refusals():
    pace, server = Pace(256), Server(round_trip=0.05)
    for _ in range(100):
        pace.refused()
        for _ in range(pace.limit):
            pace.answered(0.06)
    assert pace.limit <= NEARBY
    run(pace, server, 4_000)

    assert pace.limit > 100


def test_refusals_of_one_round_count_once_and_the_limit_is_never_below_one():
    pace = Pace(256, 40)
    for _ in range(40):
        pace.refused()
    assert pace.limit == 20
    for _ in range(200):
        pace.refused()
    assert pace.limit == 1


def test_the_connections_bound_it():
    pace = Pace(3)
    _, levels, _ = run(pace, Server(round_trip=0.1), 100)

    assert max(levels) == 3
