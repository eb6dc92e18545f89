"""What was measured of the lakeFS store, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks.compare import Comparison, Sample, peak, publishing
from benchmarks.fit import straight_line
from benchmarks.lakefs.cases import BARE, FIRST, LAKECTL, MIB, REFERENCE, SECOND, Results, Row
from benchmarks.plot import Line, plot
from benchmarks.tables import bytes_text, comparison_table, growth_table, ratio_text, seconds_text, verdict

FILES_PLOT, CHANGES_PLOT = "lakefs-growth-files.svg", "lakefs-growth-changes.svg"

_ABOUT = f"""\
**An attempt** lays out a commit's files, lets a body change some, finds the changes, uploads them to a hidden branch,
commits, publishes behind the fence, reports, and removes the files. It is one process with the lakeFS store and the
local engine; the body runs in it. The **first** is a worker's first on a host with an empty cache. It opens the
connections, lets the canary prove that the server's hook refuses (on scratch branches, once per process and
repository), and fills the cache. The **second** follows in the same process. It starts from what the first one
published and finds all of it in the cache. **{REFERENCE}** is the reference from PyPI, in an environment that the
benchmark makes. **lakectl** is `fs download -r -p 25`, the same changes, `fs upload -r -p 25` of everything to a
branch, a commit and a merge. **Bare HTTP** is the limit: the standard library moves the same bytes over kept
connections, without checks, fence or cache. All sides take turns on one server, which is on the same machine and uses
part of its CPU.

*Laid out and published* excludes the body's own time and the removal of the files. *Whole* is the time from the start
of the programs to their end; for the second attempt, its own time. CPU is the client's. Memory is that of the largest
process; for a second attempt, of the process that made both.

The rows of 10,000 files and more, and the growth, have no warm-up round. A side that is measured once is compared with
each sample of the others.
"""


def report(results: Results) -> str:
    """The text of the part's section; the plots lie beside it."""
    lines = ["### What is measured", "", _ABOUT]
    if results.no_reference is not None:
        lines += [f"{REFERENCE} was not measured: {results.no_reference}.", ""]
    for row, comparison in results.rows:
        lines += [f"### {row.title}", "", *_once(row, comparison)]
        lines += [*comparison_table(comparison, FIRST, (BARE,)), *_against(comparison)]
    lines += ["### Growth", ""]
    lines += _growth("files in the commit", results.by_files, FILES_PLOT)
    lines += _growth("changed files", results.by_changes, CHANGES_PLOT)
    if results.left_out:
        lines += ["### What was not measured", "", *(f"- {reason}" for reason in results.left_out), ""]
    return "\n".join(lines)


def short(results: Results) -> tuple[str, ...]:
    """The requirements, and whether they are met."""
    rows = (sentence for row, comparison in results.rows for sentence in _short(row, comparison))
    growths = (("files in the commit", results.by_files), ("changed files", results.by_changes))
    return *rows, *(f"by {by}, {line}" for by, growth in growths for line in _straight(growth))


def plots(results: Results) -> dict[str, str]:
    """The plots by their file names."""
    return {
        name: plot(f"Laid out and published, by {by}", by, "seconds", _lines(growth), even=True)
        for name, by, growth in (
            (FILES_PLOT, "files in the commit", results.by_files),
            (CHANGES_PLOT, "changed files", results.by_changes),
        )
        if growth
    }


def _lines(growth: Mapping[int, Comparison]) -> dict[str, Line]:
    return {
        side: {number: comparison.spread(side, publishing) for number, comparison in growth.items()}
        for side in (FIRST, SECOND)
    }


def _short(row: Row, comparison: Comparison) -> Iterator[str]:
    at_least = row.at_least or (None, None)
    for side, times in zip((FIRST, SECOND), at_least, strict=True):
        taken = comparison.spread(side, publishing)
        said = f"{row.title}: {side}, {seconds_text(taken)}"
        if REFERENCE in comparison.samples:
            ratio = comparison.ratio(REFERENCE, side, publishing)
            said += f"; the reference takes {ratio_text(ratio)} times as long"
            said += f", {verdict(ratio.median >= times, times, 'at least')}" if times is not None else ""
        if side == SECOND and row.second_seconds is not None:
            said += f", {verdict(taken.median <= row.second_seconds, f'{row.second_seconds:g} s')}"
        yield said
    if row.peak_mib is not None:
        most = max(comparison.spread(side, peak).greatest for side in (FIRST, SECOND))
        yield f"{row.title}: {bytes_text(most)} of memory, {verdict(most <= row.peak_mib * MIB, f'{row.peak_mib} MiB')}"


def _once(row: Row, comparison: Comparison) -> Iterator[str]:
    once = [name for name in (LAKECTL, REFERENCE) if name in comparison.samples]
    if row.slow and row.repeats > 1 and once:
        yield f"Measured once, between the samples of the others, because it is slow: {', '.join(once)}."
        yield ""


def _against(comparison: Comparison) -> Iterator[str]:
    if REFERENCE not in comparison.samples:
        return
    for side in (FIRST, SECOND):
        ratio = comparison.ratio(REFERENCE, side, publishing)
        yield f"The reference takes {ratio_text(ratio)} times as long as {side}."
        yield ""


def _growth(by: str, growth: Mapping[int, Comparison], plot_name: str) -> Iterator[str]:
    if not growth:
        return
    yield f"#### By number of {by}"
    yield ""
    yield f"![Laid out and published, by {by}]({plot_name})"
    yield ""
    yield from growth_table(by, growth, FIRST, SECOND)
    yield "; ".join(_straight(growth)) + "."
    yield ""


def _straight(growth: Mapping[int, Comparison]) -> Iterator[str]:
    """How near to a straight line each side's medians are."""
    if len(growth) < 2:
        return
    for side in (FIRST, SECOND):
        line = straight_line({number: _median(comparison, side, publishing) for number, comparison in growth.items()})
        yield (
            f"{side}: {line.base:.3f} s plus {line.each * 1e6:.0f} µs for each; "
            f"no median is further than {line.off:.0%} from that line"
        )


def _median(comparison: Comparison, side: str, value: Callable[[Sample], float]) -> float:
    return comparison.spread(side, value).median
