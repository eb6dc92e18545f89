"""Many processes on one branch: one winner for each head, and nothing that was ever published is lost."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from perago.errors import PublishFenceError


def race(bench, processes: int, rounds: int, timeout: float) -> list[list[str]]:
    """Let the writers loose together; returns the words of the lines that they print."""
    program = Path(__file__).parent / "program_race.py"
    writers = [
        subprocess.Popen(
            [sys.executable, program, bench.path, bench.root / f"writer-{number}", str(number), str(rounds)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, processes + 1)
    ]
    try:
        for writer in writers:
            writer.stdin.write("go\n")
            writer.stdin.flush()
        outputs = [writer.communicate(timeout=timeout)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(timeout=30)
    assert [writer.returncode for writer in writers] == [0] * processes
    return [line.split() for output in outputs for line in output.splitlines()]


@pytest.fixture
def race_counts(counted):
    return counted("Swaps raced for by processes on one git branch")


def check_that_nothing_was_lost(bench, lines, counts, *, published: int, by_hand: int = 0):
    history = bench.git("rev-list", "--first-parent", "main").split()
    won = {words[1]: words[2] for words in lines if words[0] == "won"}
    seen = {words[1] for words in lines if words[0] == "seen"}
    assert len(won) == published
    assert len(history) == published + by_hand + 1
    assert max(Counter(won.values()).values()) == 1, "two winners on one head"
    assert seen <= set(history)
    assert set(won) <= set(history)
    parents = dict(itertools.pairwise(history))
    assert all(parents[commit] == head for commit, head in won.items())
    lost = sum(words[0] == "lost" for words in lines)
    assert lost, "nobody raced"
    counts.update({"won": len(won), "lost, and tried again": lost})
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_eight_processes_publish_and_every_head_ever_seen_stays(bench, race_counts):
    bench.import_files({"a": b"a"})
    lines = race(bench, 8, 25, timeout=120)
    check_that_nothing_was_lost(bench, lines, race_counts, published=200)
    assert len(bench.content(bench.head())) == 201


@pytest.mark.timeout(900)
def test_eight_processes_publish_two_hundred_rounds_each(bench, race_counts):
    bench.import_files({"a": b"a"})
    lines = race(bench, 8, 200, timeout=800)
    check_that_nothing_was_lost(bench, lines, race_counts, published=1600)
    assert len(bench.content(bench.head())) == 1601


def test_people_commit_and_gc_runs_while_processes_publish(bench, race_counts):
    bench.import_files({"a": b"a"})
    done, by_hand, collected = threading.Event(), [], []

    def people():
        while not done.is_set():
            try:
                by_hand.append(bench.person_commits({f"by-hand-{len(by_hand)}": b"x"}))
            except subprocess.CalledProcessError:
                continue  # a writer was faster: git refused the swap

    def housekeeping():
        while not done.is_set():
            with contextlib.suppress(AssertionError):  # now and then it gives way to a writer
                collected.append(bench.git("gc", "--quiet"))

    others = [threading.Thread(target=people), threading.Thread(target=housekeeping)]
    for thread in others:
        thread.start()
    try:
        lines = race(bench, 4, 25, timeout=120)
    finally:
        done.set()
        for thread in others:
            thread.join()
    assert by_hand
    assert collected
    check_that_nothing_was_lost(bench, lines, race_counts, published=100, by_hand=len(by_hand))
    assert set(by_hand) <= set(bench.git("rev-list", "--first-parent", "main").split())


def test_threads_share_one_store(bench):
    bench.import_files({"a": b"a"})
    faults = []

    def publish(number):
        try:
            for turn in range(10):
                while True:
                    try:
                        bench.publish_files(bench.head(), {f"{number}-{turn}": b"x"})
                        break
                    except PublishFenceError:
                        continue
        except Exception as exc:
            faults.append(exc)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(bench.content(bench.head())) == 41
