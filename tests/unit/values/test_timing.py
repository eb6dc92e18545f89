"""The line on an attempt's times is read as it was written, and has only numbers, phases and a commit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.ports import Phase
from perago.values.timing import MAX_NUMBER, MAX_PHASES, Stopwatch, Timing, timing_in, timing_line

NUMBERS = st.integers(0, MAX_NUMBER)
NAMES = st.sampled_from([str(phase) for phase in Phase])
COMMITS = st.text("0123456789abcdef", min_size=1, max_size=64)


@st.composite
def timings(draw):
    phases = draw(st.dictionaries(NAMES, NUMBERS))
    files = draw(st.none() | NUMBERS) if "materialize" in phases else None
    kept = draw(st.none() | NUMBERS) if files is not None else None
    origin = draw(st.none() | COMMITS)
    return Timing(took=draw(NUMBERS), phases=phases, files=files, kept=kept, cached_from=origin)


@given(timings())
def test_what_is_written_is_read(timing):
    line = timing_line(timing)
    assert timing_in(line) == timing
    assert list(timing_in(line).phases) == list(timing.phases)
    assert line.isascii()
    assert "\n" not in line
    assert len(line) <= 1_000


@given(timings(), st.integers(0, 200), st.text(max_size=3))
def test_a_line_that_was_changed_is_none_or_says_exactly_what_it_reads(timing, place, text):
    line = timing_line(timing)
    changed = line[:place] + text + line[place + 1 :]
    found = timing_in(changed)
    assert found is None or timing_line(found) == changed


def test_a_line_is_for_people_too():
    timing = Timing(took=12_412, phases={"materialize": 1_204, "body": 10_912, "publish": 96}, files=10_000, kept=9_990)
    assert timing_line(timing) == (
        "perago: took 12.412 s: materialize 1.204 s, 10,000 files, 9,990 kept; body 10.912 s; publish 0.096 s"
    )
    hit = Timing(took=310, phases={"decide": 250}, cached_from="0123abcd")
    assert timing_line(hit) == "perago: took 0.310 s, result taken from commit 0123abcd: decide 0.250 s"
    assert timing_line(Timing(took=2)) == "perago: took 0.002 s"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "INFO perago: took 0.002 s",
        "perago: took 0.002 s\n",
        "perago: took 0.02 s",
        "perago: took 00.002 s",
        "perago: took 0.002 s: ",
        "perago: took 0.002 s: body 0.001 s, 3 files",
        "perago: took 0.002 s: body 0.001 s; body 0.001 s",
        "perago: took 0.002 s: materialize 0.001 s, 1000 files",
        "perago: took 0.002 s: materialize 0.001 s, ,, files",
        "perago: took \u0660.002 s",
    ],
)
def test_another_line_is_none(line):
    assert timing_in(line) is None


def test_nothing_else_gets_into_a_line_and_it_is_bounded():
    many = {f"phase_{'x' * n}": 10**30 for n in range(200)}
    odd = Timing(took=-1, phases={"/secret path": 1, "a;b": 1, **many}, files=-3, cached_from="../x y")
    line = timing_line(odd)
    assert line.count(";") < MAX_PHASES
    assert "secret" not in line
    assert " y" not in line
    assert len(line) <= 1_000


def test_a_stopwatch_adds_the_phases_that_have_ended():
    watch = Stopwatch()
    for phase, kind, seconds, attributes in (
        ("materialize", "started", 0.0, {}),
        ("materialize", "progress", 0.5, {"files": 1}),
        ("materialize", "completed", 1.0, {"files": 7, "files_kept": 5}),
        ("stage", "started", 0.0, {}),
        ("stage", "lost", 0.25, {}),
        ("stage", "started", 0.0, {}),
        ("stage", "failed", 0.5, {}),
        ("clean", "completed", 0.0, {}),
        ("publish", "started", 0.0, {}),
    ):
        watch.note(phase, kind, seconds, attributes)
    assert watch.timing(2.0) == Timing(took=2_000, phases={"materialize": 1_000, "stage": 750}, files=7, kept=5)


def test_a_result_that_was_gone_is_none_of_the_cache():
    watch = Stopwatch()
    watch.note("decide", "completed", 0.1, {"cached_from": "abc"})
    assert watch.timing().cached_from == "abc"
    watch.note("body", "started", 0.0, {})
    assert watch.timing().cached_from is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
def test_events_of_no_sense_fail_nothing(seconds):
    watch = Stopwatch()
    watch.note("materialize", "completed", seconds, {"files": "7", "files_kept": True, "cached_from": 3})
    assert watch.timing(seconds) == Timing()
