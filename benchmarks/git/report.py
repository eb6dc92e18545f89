"""The section on the git store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.compare import Comparison, Spread, peak, publishing
from benchmarks.git.cases import ATTEMPT, GIT, LFS, MIB, Results
from benchmarks.plot import plot
from benchmarks.tables import bytes_text, comparison_table, growth_table, ratio_text, verdict

MAX_RATIO = 1.5
"""Required ratio of laying out and publishing to git's checkout, add and commit, for `RATIO_FILES` files."""

RATIO_FILES = 10_000

MAX_GROWTH = 20 * MIB
"""Required maximum of additional memory for the largest file compared with the smallest."""

FILES_PLOT, CHANGES_PLOT = "git-growth-files.svg", "git-growth-changes.svg"

_ABOUT = """\
**An attempt** lays out a commit's files, lets a body change some, finds the changes, stores and publishes them,
reports, and removes the files. It is one process with the git store and the local engine; the body runs in it.
**`perago run`** is the command as typed, including the start of the interpreter and the body's own process.
**git** does the same by hand, on a copy of the same repository: `git checkout` into a fresh work tree, the same
changes, `git add --all`, `git commit` to the same branch, `rm -rf`.

*Laid out and published* excludes the body's own time and the removal of the files. For git it is checkout, add and
commit. *Whole* is the time from the start of the programs to their end. CPU and memory come from the kernel and cover
the whole programs with their children; memory is that of the largest process.

Perago does three things that git does not: it syncs everything to the disk before the branch moves, checks the hash of
everything it lays out, and checks every name.
"""


def report(results: Results) -> str:
    """The text of the part's section."""
    lines = ["### What is measured", "", _ABOUT, "### Many small files", ""]
    for comparison in results.small.values():
        lines += [f"#### {comparison.title}", "", *comparison_table(comparison, ATTEMPT, (GIT,))]
    lines += ["### One large file", "", *_about_large(results)]
    for comparison in results.large.values():
        lines += [f"#### {comparison.title}", "", *comparison_table(comparison, ATTEMPT, (GIT, LFS))]
    lines += ["### Growth", ""]
    lines += _growth("files in the commit", results.by_files, FILES_PLOT)
    lines += _growth("changed files", results.by_changes, CHANGES_PLOT)
    return "\n".join(lines)


def short(results: Results) -> tuple[str, ...]:
    """The requirements, and whether they are met."""
    return tuple(_short(results))


def plots(results: Results) -> dict[str, str]:
    """The plots by their file names."""
    return {
        name: plot(f"Laid out and published, by {by}", by, "seconds", _lines(growth))
        for name, by, growth in (
            (FILES_PLOT, "files in the commit", results.by_files),
            (CHANGES_PLOT, "changed files", results.by_changes),
        )
    }


def _lines(growth: Mapping[int, Comparison]) -> dict[str, dict[int, Spread]]:
    return {
        side: {number: comparison.spread(side, publishing) for number, comparison in growth.items()}
        for side in (ATTEMPT, GIT)
    }


def _short(results: Results) -> Iterator[str]:
    for files, comparison in results.small.items():
        ratio = comparison.ratio(ATTEMPT, GIT, publishing)
        reached = f", {verdict(ratio.median <= MAX_RATIO, MAX_RATIO)}" if files >= RATIO_FILES else ""
        yield f"{comparison.title}: {ratio_text(ratio)} of git's time{reached}"
    first = next(iter(results.large.values()))
    yield f"{first.title}: {ratio_text(first.ratio(ATTEMPT, GIT, publishing))} of git's time"
    peaks = [comparison.spread(ATTEMPT, peak).median for comparison in results.large.values()]
    grown = max(peaks) - min(peaks)
    sizes = " and ".join(f"{size // MIB:,} MiB" for size in results.large)
    yield (
        f"memory on a file of {sizes}: {bytes_text(max(peaks))} at most, {bytes_text(grown)} apart, "
        f"{verdict(grown <= MAX_GROWTH, bytes_text(MAX_GROWTH))}"
    )


def _about_large(results: Results) -> list[str]:
    has_lfs = any(LFS in comparison.samples for comparison in results.large.values())
    beside = "git with git-lfs works on the same repository" if has_lfs else "git-lfs is not installed here"
    return [
        f"Perago keeps the file in git-lfs layout, git as an object of its own, which it compresses; {beside}.",
        "",
    ]


def _growth(by: str, growth: Mapping[int, Comparison], plot_name: str) -> Iterator[str]:
    yield f"#### By number of {by}"
    yield ""
    yield f"![Laid out and published, by {by}]({plot_name})"
    yield ""
    yield from growth_table(by, growth, ATTEMPT, GIT)
