"""What is said of measured workers: the comparison, and whether a requirement is met."""

from dataclasses import replace

from benchmarks.conductor.cases import TINY, Idle, Results, Round
from benchmarks.conductor.report import report, short
from benchmarks.conductor.workers import PROCESSES, THEIR_RUNNER, THEIR_WORKER, THREADS, Memory

MIB = 1 << 20


def results(**ours):
    """Of two rounds; the second was on a machine half as fast."""
    measured = {
        PROCESSES.title: Round(**{"latency": 0.02, "rate": 100.0, "cpu": 0.002, **ours}),
        THREADS.title: Round(0.02, 100.0, 0.002),
        THEIR_RUNNER.title: Round(0.05, 100.0, 0.002),
        THEIR_WORKER.title: Round(0.06, 50.0, 0.004),
    }
    made = Results(replace(TINY, slots=4), without_files="needs a server")
    for title, figures in measured.items():
        slower = Round(figures.latency * 2, figures.rate / 2, figures.cpu * 2)
        made.rounds[title] = [figures, slower]
        made.latencies[title] = [figures.latency, slower.latency]
        made.idle[title] = Idle(0.02, 0.005, Memory(100 * MIB, 80 * MIB), Memory(250 * MIB, 170 * MIB))
    return made


def of_processes(made):
    return [sentence for sentence in short(made) if sentence.startswith((PROCESSES.title, "an idle executor"))]


def test_what_is_reached_is_said_so():
    latency, rate, cpu, idle, executor = of_processes(results())
    assert "0.33 (0.33 to 0.33) of the reference's; required at most 0.5: reached" in latency
    assert "1.00 (1.00 to 1.00) of conductor-python's; required at least 0.8: reached" in rate
    assert "3.00 (2.00 to 4.00) ms of CPU a task, 1.00 (1.00 to 1.00)" in cpu
    assert "0.50% of a core; required less than 1 %: reached" in idle
    assert "50 MiB RSS, 30 MiB PSS; required less than 60 MiB: reached" in executor


def test_what_is_missed_is_said_so():
    made = results(latency=0.04, rate=79.0, cpu=0.0033)
    made.idle[PROCESSES.title] = Idle(0.02, 0.015, Memory(0, 0), Memory(210 * MIB, 0))
    sentences = of_processes(made)
    assert len(sentences) == 5
    assert all("**not reached**" in sentence for sentence in sentences)


def test_who_was_not_measured_is_compared_with_nobody():
    made = results()
    for title in (THEIR_RUNNER.title, THEIR_WORKER.title):
        del made.rounds[title], made.latencies[title], made.idle[title]
    made.left_out.append("the reference: no network")
    text = report(made)
    assert "Not measured: the reference: no network." in text
    assert f"/ {THEIR_WORKER.title}**" not in text
    assert "Not measured: lakeFS needs a server." in text
    assert not any("of the reference's" in sentence for sentence in short(made))
