"""What was measured of the lakeFS store, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.compare import Comparison, publishing
from benchmarks.lakefs.cases import BARE, FIRST, REFERENCE, SECOND, Results, Row
from benchmarks.lakefs.sides import REFERENCE_VARIABLE
from benchmarks.plot import plot
from benchmarks.tables import comparison_table, growth_table, ratio_text, seconds_text, verdict

FILES_PLOT, CHANGES_PLOT = "lakefs-growth-files.svg", "lakefs-growth-changes.svg"

_ABOUT = f"""\
**An attempt** lays out a commit's files, lets a body change some, finds out which, uploads them to a hidden branch,
commits, publishes behind the fence, reports, and removes the files. It is one process with the lakeFS store and the
local engine; the body runs in it. The **first** is a worker's first on a host whose cache is empty; the **second** is
the one after it in the same process. **perago 0.6.1** is the reference from PyPI in an environment of its own, which
`{REFERENCE_VARIABLE}` names. **lakectl** is `fs download -r`, the same changes, `fs upload -r` of everything to a
branch, a commit and a merge. **Bare HTTP** is the limit: the same bytes over kept connections of the standard library,
with nothing checked, fenced or kept. All of them take turns on one server.

*Laid out and published* is all but the body's own time and the removal of the files. *Whole* is everything from the
start of the programs to their end; of the second attempt, its own time. CPU is the client's. Memory is that of the
largest process.
"""


def report(results: Results) -> str:
    """The text of the part's section; the plots lie beside it."""
    lines = ["### What is measured", "", _ABOUT]
    for row, comparison in results.rows:
        lines += [f"### {row.title}", "", *comparison_table(comparison, FIRST, (BARE,)), *_against(comparison)]
    lines += ["### Growth", ""]
    lines += _growth("files in the commit", results.by_files, FILES_PLOT)
    lines += _growth("changed files", results.by_changes, CHANGES_PLOT)
    if results.left_out:
        lines += [f"There was no time for {'; '.join(results.left_out)}.", ""]
    return "\n".join(lines)


def short(results: Results) -> tuple[str, ...]:
    """What was to be reached, and whether it was."""
    return tuple(sentence for row, comparison in results.rows for sentence in _short(row, comparison))


def plots(results: Results) -> dict[str, str]:
    """The plots by their file names."""
    return {
        name: plot(
            f"Laid out and published, by {by}",
            by,
            "seconds",
            {
                side: {number: comparison.spread(side, publishing) for number, comparison in growth.items()}
                for side in (FIRST, SECOND)
            },
        )
        for name, by, growth in (
            (FILES_PLOT, "files in the commit", results.by_files),
            (CHANGES_PLOT, "changed files", results.by_changes),
        )
        if growth
    }


def _short(row: Row, comparison: Comparison) -> Iterator[str]:
    first, second = (comparison.spread(side, publishing) for side in (FIRST, SECOND))
    yield f"{row.title}: first attempt {seconds_text(first)}, second {seconds_text(second)}"
    if REFERENCE in comparison.samples and row.at_least is not None:
        for side, at_least in zip((FIRST, SECOND), row.at_least, strict=True):
            ratio = comparison.ratio(side, REFERENCE, publishing)
            reached = verdict(ratio.median <= 1 / at_least, f"{1 / at_least:.4f}")
            yield f"{row.title}: {side} takes {ratio.median:.4f} of the reference's time, {reached}"


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
