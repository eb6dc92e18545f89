"""The figures of reliability are judged as they are meant to be."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import figures
from inner_run import run_tests

RACED = Counter(rounds=200, published=150)
ENOUGH = {
    figures.SCHEDULES: Counter(all=10_000),
    figures.BROKEN_SCHEDULES: Counter(),
    figures.INCIDENTS: Counter({"crash at body": 30, "lost at poll": 80}),
    figures.FAULTS: Counter({"git/lost": 4_000, "memory/pairs": 9}),
    figures.POINTS: Counter(there=4_000, met=4_000),
    figures.BROKEN_POINTS: Counter(),
    figures.KILLS: Counter({"at random": 100}),
    figures.NEMESIS: Counter(
        {
            "kill executors": 30,
            "kill supervisors, at random": 2,
            "hosts stopped": 5,
            "runs published": 1,
            "results taken and published": 1,
            "commits seen by the reader": 9,
        }
    ),
    figures.NEMESIS_FAULTS: Counter(),
    figures.RECOVERY: Counter(p50=8_000, p99=21_500),
    figures.RACES: RACED,
}


def told(counts, kind=figures.SHORT):
    return {entry.figure.name: entry for entry in figures.judge(counts, kind)}


def test_enough_is_enough():
    assert all(entry.is_met for entry in told(ENOUGH).values())


def test_more_is_wanted_of_a_full_run():
    missed = {name for name, entry in told(ENOUGH, figures.FULL).items() if not entry.is_met}
    assert missed == {"real kills of `perago run`", "races of 5 writers on a real lakeFS"}


@pytest.mark.parametrize(
    ("heading", "counter", "name"),
    [
        (figures.BROKEN_POINTS, Counter(broken=1), "of these points broke a promise"),
        (figures.POINTS, Counter(there=4_000, met=3_999), "calls of the swept attempts that met the fault"),
        (figures.NEMESIS_FAULTS, Counter(orphans=1), "orphans after the nemesis"),
        (figures.RACES, Counter(RACED, lost_heads=1), "commits lost"),
        (figures.RACES, Counter(RACED, ghosts=1), "published twice, or by somebody who said it was not"),
        (figures.RACES, Counter(RACED, unexpected=1), "published on an unexpected head"),
    ],
)
def test_one_is_too_many(heading, counter, name):
    assert not told({**ENOUGH, heading: counter})[name].is_met


def test_what_was_not_measured_is_not_met_and_says_so():
    judged = figures.judge({}, figures.SHORT)
    assert not any(entry.is_met for entry in judged)
    assert all("not measured" in line for line in figures.table(judged, figures.SHORT)[2:])


def test_the_table_has_the_figures_units_and_the_reference():
    counts = {**ENOUGH, figures.REFERENCE_RACES: Counter(rounds=200, lost_heads=17)}
    lines = figures.table(figures.judge(counts, figures.SHORT), figures.SHORT)
    assert "| recovery, p99 | told | 21.5 s |  | `make nemesis MINUTES=4` |" in lines
    assert any("| at least 100 % | 100 % |" in line for line in lines)
    assert "| commits lost | 0 | 0 | 17 | `make races ROUNDS=1000` |" in lines


COUNTS = """
def test_races(counted, tell_at_end):
    tell_at_end("| told | by a test |")
    counted({heading!r}).update(rounds=200, lost_heads={lost})
"""


@pytest.mark.parametrize(("lost", "missed"), [(0, []), (1, ["commits lost"])])
def test_a_figure_that_is_missed_fails_a_run_whose_tests_pass_and_is_kept(lost, missed, tmp_path):
    """What was not measured does not, without CI=true."""
    run = run_tests(tmp_path, COUNTS.format(heading=figures.RACES, lost=lost), PERAGO_PROVE="short")
    assert "1 passed" in run.stdout
    assert "\n| told | by a test |\n" in run.stdout
    assert run.returncode == bool(missed)
    assert json.loads((tmp_path / "cache" / "v" / "perago" / "missed-figures").read_text()) == missed
