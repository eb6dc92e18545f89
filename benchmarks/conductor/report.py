"""The section on workers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

from benchmarks.compare import Spread
from benchmarks.conductor.cases import Idle, Results
from benchmarks.conductor.workers import PROCESSES, THEIR_RUNNER, THEIR_WORKER, THREADS, Memory
from benchmarks.tables import MIB, bytes_text, ratio_text, verdict

OURS = (PROCESSES.title, THREADS.title)
RUNNER, REFERENCE = THEIR_RUNNER.title, THEIR_WORKER.title
LATENCY_RATIO = 0.5
RATE_RATIOS = {PROCESSES.title: 0.8, THREADS.title: 0.95}
CPU_RATIOS = {PROCESSES.title: 1.6, THREADS.title: 1.2}
EXECUTOR_BYTES = 60 * MIB
IDLE_PART = 0.01
"""Requirements relative to the reference's latency and conductor-python's rate and CPU, and absolute ones. Process mode
costs more: each task passes through two more processes."""

_ABOUT = """\
All workers take turns on one server, starting with a different one in each round. Each is started anew in each round
and does some tasks that do not count; the machine has other loads too. Before the first round each worker does some
hundred tasks, because the server is slower while its second compiler is at work. **Perago, processes** and **Perago,
threads** are the two modes of `perago start`. **conductor-python** is that package's own runner. **The reference** is
`perago start` of the release on PyPI. All have their default settings and the same number of slots.

*Latency* is the time of an empty free task from the creation of its workflow to its completion, by the server's clock,
one task after another with pauses in between. For the *rate*, tasks are queued while a signal has stopped the worker.
Then the worker continues, and the time runs until the last workflow has completed, including the server's work. *CPU*
is that of all the worker's processes, for each of those tasks. Perago reads each report back. If the hand-out is
older than a second, it first asks whether the execution is current. conductor-python's runner does neither.

*Memory* is that of all processes of a worker that has done some tasks, with one slot and with several. The difference
divided by the slots is an executor's. RSS counts shared pages in each process; PSS divides them among the processes.
*Idle* is the CPU used in the first period after the last task, when another task is expected and polls are frequent,
and in the second period.
"""


def report(results: Results) -> str:
    """The text of the part's section."""
    lines = ["### What is measured", "", _ABOUT]
    lines += [f"Not measured: {reason}.\n" for reason in results.left_out]
    lines += ["### Free tasks", "", *_rounds(results), "### Idle", "", *_idle(results)]
    lines += ["### Whole attempts with lakeFS", "", *_attempts(results)]
    return "\n".join(lines)


def short(results: Results) -> tuple[str, ...]:
    """The requirements, and whether they are met."""
    return tuple(_short(results))


def _short(results: Results) -> Iterator[str]:
    for title in OURS:
        latency = _milliseconds(results.spread(title, "latency"))
        yield f"{title}, latency of a free task: {latency}{_half(results, title)}"
        for figure, unit, limit, bound in (
            ("rate", "tasks/s", RATE_RATIOS[title], "at least"),
            ("cpu", "ms of CPU a task", CPU_RATIOS[title], "at most"),
        ):
            said = f"{title}: {_figure(results.spread(title, figure), figure)} {unit}"
            if RUNNER in results.rounds:
                ratio = results.ratio(title, RUNNER, figure)
                reached = ratio.median >= limit if bound == "at least" else ratio.median <= limit
                said += f", {ratio_text(ratio)} of conductor-python's; {verdict(reached, limit, bound)}"
            yield said
    for title in OURS:
        idle = results.idle[title]
        said = verdict(idle.second < IDLE_PART, "1 %", "less than")
        yield f"{title}, idle for {results.plan.idle_seconds:g} s: then {idle.second:.2%} of a core; {said}"
    executor = _executor(results.idle[PROCESSES.title], results.plan.slots)
    said = verdict(executor.resident < EXECUTOR_BYTES, bytes_text(EXECUTOR_BYTES), "less than")
    proportional = bytes_text(executor.proportional)
    yield f"an idle executor process: {bytes_text(executor.resident)} RSS, {proportional} PSS; {said}"
    for title in OURS:
        if title in results.attempts:
            yield f"{title}, whole attempts with lakeFS: {_by_slots(results.attempts[title])}"


def _half(results: Results, title: str) -> str:
    if REFERENCE not in results.rounds:
        return ""
    ratio = results.ratio(title, REFERENCE, "latency")
    return f", {ratio_text(ratio)} of the reference's; {verdict(ratio.median <= LATENCY_RATIO, LATENCY_RATIO)}"


def _rounds(results: Results) -> Iterator[str]:
    plan = results.plan
    yield (
        f"{plan.rounds} rounds with {plan.slots} slots. Each has {plan.light} tasks with pauses of {plan.pause[0]:g} "
        f"to {plan.pause[1]:g} s, and {plan.backlog} tasks queued at once. A figure summarizes the rounds."
    )
    yield ""
    yield "| | latency, median of a round | of all, median and 90 % | rate | CPU a task |"
    yield "|---|---|---|---|---|"
    for title in results.rounds:
        latencies = sorted(results.latencies[title])
        middle, late = statistics.median(latencies), latencies[int(len(latencies) * 0.9)]
        latency = _milliseconds(results.spread(title, "latency"))
        rate, cpu = (_figure(results.spread(title, figure), figure) for figure in ("rate", "cpu"))
        yield f"| {title} | {latency} | {middle * 1000:.0f}, {late * 1000:.0f} ms | {rate} /s | {cpu} ms |"
    for title in OURS:
        for other in (RUNNER, REFERENCE):
            if other in results.rounds:
                latency, rate, cpu = (
                    ratio_text(results.ratio(title, other, figure)) for figure in ("latency", "rate", "cpu")
                )
                yield f"| **{title} / {other}** | {latency} | | {rate} | {cpu} |"
    yield ""


def _idle(results: Results) -> Iterator[str]:
    seconds, slots = results.plan.idle_seconds, results.plan.slots
    yield f"RSS and PSS of all processes of a worker: with 1 slot, with {slots}, and for each additional slot."
    yield ""
    yield f"| | CPU, first {seconds:g} s | then | 1 slot | {slots} slots | an additional slot |"
    yield "|---|---|---|---|---|---|"
    for title, idle in results.idle.items():
        shown = (_memory(taken) for taken in (idle.one, idle.many, _executor(idle, slots)))
        yield f"| {title} | {idle.first:.2%} | {idle.second:.2%} | {' | '.join(shown)} |"
    yield ""


def _executor(idle: Idle, slots: int) -> Memory:
    """Memory of an additional slot."""
    return Memory(*((many - one) // (slots - 1) for one, many in zip(idle.one, idle.many, strict=True)))


def _attempts(results: Results) -> Iterator[str]:
    plan = results.plan
    if results.without_files is not None:
        yield f"Not measured: lakeFS {results.without_files}."
        return
    yield (
        f"Attempts a minute. An attempt lays out {plan.files} files of {plan.size:,} bytes, changes {plan.changed}, "
        f"publishes them to its own branch, and reports. {plan.attempts} attempts were queued at once ({plan.theirs} "
        f"for the reference), after a warm-up. Each worker had one turn."
    )
    yield ""
    yield f"| | {' | '.join(f'{slots} slots' for slots in plan.file_slots)} |"
    yield f"|---|{'---|' * len(plan.file_slots)}"
    for title, rates in results.attempts.items():
        shown = " | ".join(f"{rates[slots]:.0f}" if slots in rates else "" for slots in plan.file_slots)
        yield f"| {title} | {shown} |"
    for title in OURS:
        if title in results.attempts and REFERENCE in results.attempts:
            ours, theirs = results.attempts[title], results.attempts[REFERENCE]
            ratios = " | ".join(
                f"{ours[slots] / theirs[slots]:.1f}" if slots in theirs else "" for slots in plan.file_slots
            )
            yield f"| **{title} / {REFERENCE}** | {ratios} |"
    yield ""
    if results.without_reference is not None:
        yield f"The reference was not measured to the end: {results.without_reference}"
        yield ""


def _by_slots(rates: Mapping[int, float]) -> str:
    return ", ".join(f"{rate:.0f} a minute with {slots}" for slots, rate in rates.items()) + " slots"


def _figure(spread: Spread, figure: str) -> str:
    scale, digits = (1000.0, 2) if figure == "cpu" else (1.0, 0)
    low, middle, high = (f"{value * scale:.{digits}f}" for value in (spread.least, spread.median, spread.greatest))
    return f"{middle} ({low} to {high})"


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median * 1000:.0f} ({spread.least * 1000:.0f} to {spread.greatest * 1000:.0f}) ms"


def _memory(taken: Memory) -> str:
    proportional = bytes_text(taken.proportional) if taken.proportional else "not known here"
    return f"{bytes_text(taken.resident)}, {proportional}"
