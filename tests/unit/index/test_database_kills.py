"""A process that is killed while it makes or fills an index leaves one that can be used."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from perago.index.history import HistoryIndex
from servers.machine import slowness
from tests.unit.index.made_history import line, since

PROGRAM = Path(__file__).with_name("program_refresh.py")
COMMITS, STEP = 1_500, 50
KILLS = 12


@pytest.mark.property
def test_a_kill_at_any_moment_leaves_a_sound_index(tmp_path):
    """None is ever found damaged, or with a commit and not all that came before."""
    commits, random, told, seen = line(COMMITS), Random(), [], set()
    for number in range(KILLS):
        path = tmp_path / f"{number}.sqlite"
        with subprocess.Popen(
            [sys.executable, PROGRAM, path, str(COMMITS), str(STEP)], stdout=subprocess.PIPE, text=True
        ) as process:
            if number % 3:  # else also while the file is made
                process.stdout.readline()
            else:
                _wait_for_directory(path)
            time.sleep(random.uniform(0, 0.15))
            process.kill()
            ended = STEP * (len(process.stdout.read().split()) + bool(number % 3))
        with HistoryIndex(path, tell=told.append) as index:
            known = index.of_task("train", limit=COMMITS)[::-1]
            seen.add(len(known))
            assert known == commits[: len(known)]
            assert len(known) % STEP == 0
            assert len(known) >= ended
            assert index.refresh(since(commits)) == COMMITS - len(known)
    assert told == []
    assert len(seen) > 1


def _wait_for_directory(path: Path) -> None:
    """Until the process has begun: it makes the lock first."""
    deadline = time.monotonic() + 30 * slowness()
    while not path.with_name(f"{path.name}.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_kill_in_the_middle_of_a_refresh_leaves_what_was_before(tmp_path):
    path, commits = tmp_path / "a.sqlite", line(60)
    with HistoryIndex(path) as index:
        index.refresh(since(commits[:20]))
    with subprocess.Popen(
        [sys.executable, PROGRAM, path, "60", "60", "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
    with HistoryIndex(path, tell=pytest.fail) as index:
        assert index.commit(commits[20].id) is None
        assert index.refresh(since(commits)) == 40
