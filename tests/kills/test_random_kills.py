"""`perago run` is killed at random moments, again and again on one repository, its resumes too."""

from __future__ import annotations

import os
import random
import statistics
from dataclasses import dataclass, field

import pytest

from kill_support import KILLED, Project

KILLS = int(os.environ.get("PERAGO_TEST_KILLS", "20"))
"""Kills in one run of this test; PERAGO_TEST_KILLS for a longer one."""
QUICK = 10

CLEAN_RUNS = 3
IN_THIS_PROCESS = "--debug"
"""Most of the bodies run in the killed process: starting another one takes most of the time of a run so small."""

LEFT_ALONE = 0.3
"""Share of the resumes that nobody kills: each that waits for the lock of a killed git write takes 2 s, and would be
killed before that for ever."""


@dataclass(frozen=True)
class Pace:
    """Seconds from the start of a run to its first word, and from there to its last."""

    starting: float
    working: float

    @classmethod
    def of(cls, runs: list[tuple[float, ...]]) -> Pace:
        """The medians of several runs. Each run is given as the times of its output lines."""
        starting = statistics.median(said[0] for said in runs)
        return cls(starting, statistics.median(said[-1] - said[0] for said in runs))


@dataclass
class Series:
    """Runs one after the other, each killed until it got through. `number` is the line that is to be written."""

    project: Project
    rng: random.Random
    number: int = 1
    done: set[str] = field(default_factory=set)

    def measure(self) -> dict[bool, Pace]:
        """How long runs take that nobody kills, with `IN_THIS_PROCESS` (True) and without (False)."""
        return {debug: Pace.of([self._clean_run(debug) for _ in range(CLEAN_RUNS)]) for debug in (False, True)}

    def _clean_run(self, debug: bool) -> tuple[float, ...]:
        ended = self.project.perago(*self._arguments(debug))
        assert ended.code == 0, ended.err
        self._finish()
        return ended.said

    def kill_once(self, paces: dict[bool, Pace]) -> str | None:
        """Go on with the run that is open, or begin one, and kill it; where it was, or None if it got through."""
        before = self._open_run()
        if before is not None and self.rng.random() < LEFT_ALONE:
            self._clean_run(True)
            return None
        debug, starting = self.rng.random() < 0.7, self.rng.random() < 0.1
        pace = paces[debug]
        after = self.rng.uniform(0.8, 1) * pace.starting if starting else self.rng.uniform(0, 1.1) * pace.working
        ended = self.project.kill_perago(*self._arguments(debug), after=after, after_first_word=not starting)
        assert ended.code in (0, KILLED), ended.err
        self.project.check_history()
        summary = self.project.newest_run()
        if summary is not None and summary.run_id not in self.done and summary.status == "COMPLETED":
            self._finish()
            return None if ended.code == 0 else "after the report"
        assert ended.code == KILLED, ended.err
        if len(self.project.git("show", "main:log.txt").split()) == self.number:
            return "after the publication"
        if self._open_run() is None:
            return "before there was a run"
        return "in a first try" if before is None else "in a resume"

    def get_through(self) -> None:
        """Nobody kills any more: one more try completes."""
        if self._open_run() is not None:
            self._clean_run(False)

    def _arguments(self, debug: bool) -> list[str]:
        run_id = self._open_run()
        project = self.project
        arguments = project.run_arguments(self.number) if run_id is None else project.resume_arguments(run_id)
        return [*arguments, *([IN_THIS_PROCESS] if debug else [])]

    def _open_run(self) -> str | None:
        summary = self.project.newest_run()
        return None if summary is None or summary.run_id in self.done else summary.run_id

    def _finish(self) -> None:
        self.project.check_done(self.number)
        self.done.add(self.project.newest_run().run_id)
        self.number += 1


@pytest.mark.property
@pytest.mark.timeout(900 + 12 * KILLS)  # one takes 3 s on a quiet machine
@pytest.mark.parametrize("wanted", [pytest.param(QUICK, marks=pytest.mark.quick), KILLS])
def test_runs_killed_at_random_moments_lose_nothing_and_do_nothing_twice(tmp_path, kill_counts, wanted):
    seed = int(os.environ.get("PERAGO_TEST_SEED", random.randrange(1 << 32)))
    series = Series(Project.create(tmp_path / "project"), random.Random(seed))
    paces = series.measure()
    print(f"PERAGO_TEST_SEED={seed} kills at these moments again")
    kills = 0
    while kills < wanted:
        where = series.kill_once(paces)
        if where is not None:
            kills += 1
            kill_counts[f"at random {where}"] += 1
    series.get_through()
    series.project.check_clean()
