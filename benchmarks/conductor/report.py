"""What was measured of workers, for people."""

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
"""What is to be reached, of the reference's latency, of conductor-python's rate and CPU, and by itself. Processes cost
more: each task passes two more of them."""

_ABOUT = """\
All workers take turns on one server, beginning with another one in each round; each is started anew in each round,
does some tasks that do not count, and has the machine's other loads beside it. Before the first round each has done
some hundred tasks, for the server is slower while its second compiler is at work. **Perago, processes** and **Perago,
threads** are `perago start` in its two modes, **conductor-python** is that package's own runner, **the reference** is
`perago start` of the release on PyPI; all as they are by default, with as many slots.

*Latency* is of a free task that does nothing: from the creation of its workflow to its completion, by the server's
clock, one after another with pauses between. *Rate*: tasks are queued while the worker is stopped by a signal, and
then it goes on; until the last workflow has completed, with all that the server does meanwhile. *CPU* is that of all
the worker's processes, for each of those tasks. Perago's reads each report back, and asks before it whether the
execution is current where the hand-out is older than a second; conductor-python's runner does neither.

*Memory* is that of all processes of a worker that has done some tasks, with one slot and with several; an executor's
is the difference, divided. RSS counts in each process what processes share, PSS shares it out. *Idle* is the CPU used
in the first time after the last task, when a further one is still expected and polls are frequent, and in the second,
when the worker has been idle for that long already.
"""


def report(results: Results) -> str:
    """The text of the part's section."""
    lines = ["### What is measured", "", _ABOUT]
    lines += [f"Not measured: {reason}.\n" for reason in results.left_out]
    lines += ["### Free tasks", "", *_rounds(results), "### Idle", "", *_idle(results)]
    lines += ["### Whole attempts with lakeFS", "", *_attempts(results)]
    return "\n".join(lines)


def short(results: Results) -> tuple[str, ...]:
    """What was to be reached, and whether it was."""
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
        f"{plan.rounds} rounds; in each, {plan.light} tasks that come after {plan.pause[0]:g} to {plan.pause[1]:g} s, "
        f"and {plan.backlog} queued at once; {plan.slots} slots. Figures are of rounds."
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
    yield f"RSS and PSS are of all processes of a worker with 1 slot, with {slots}, and for each slot more."
    yield ""
    yield f"| | CPU, first {seconds:g} s | then | 1 slot | {slots} slots | a slot more |"
    yield "|---|---|---|---|---|---|"
    for title, idle in results.idle.items():
        shown = (_memory(taken) for taken in (idle.one, idle.many, _executor(idle, slots)))
        yield f"| {title} | {idle.first:.2%} | {idle.second:.2%} | {' | '.join(shown)} |"
    yield ""


def _executor(idle: Idle, slots: int) -> Memory:
    """What a slot more takes."""
    return Memory(*((many - one) // (slots - 1) for one, many in zip(idle.one, idle.many, strict=True)))


def _attempts(results: Results) -> Iterator[str]:
    plan = results.plan
    if results.without_files is not None:
        yield f"Not measured: lakeFS {results.without_files}."
        return
    yield (
        f"Attempts a minute: {plan.files} files of {plan.size:,} bytes are laid out, {plan.changed} are changed, "
        f"published to a branch of the attempt's own, and the result is reported; {plan.attempts} attempts queued at "
        f"once ({plan.theirs} of the reference's), after some that do not count. All took turns, once."
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
