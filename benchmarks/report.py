"""RESULTS.md: what was measured, for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from benchmarks.cases import ATTEMPT, GIT, LFS, MIB, RUN, Results
from benchmarks.compare import Comparison, Spread, cpu, peak, publishing, whole
from benchmarks.plot import plot

MAX_RATIO = 1.5
"""To be reached: laying out and publishing, over git's checkout, add and commit."""

MAX_GROWTH = 20 * MIB
"""To be reached: what an attempt on the largest file may need in memory beyond one on the smallest."""

SHOWN_SECONDS = 0.0005
FILES_PLOT, CHANGES_PLOT = "growth-files.svg", "growth-changes.svg"

_ABOUT = """\
**An attempt** lays out a commit's files, lets a body change some, finds out which, stores and publishes them,
reports, and removes the files. It is one process with the git store and the local engine; the body runs in it.
**`perago run`** is the command as a person types it, with the start of the interpreter and the body's own process.
**git** does the same by hand, on a copy of the same repository: `git checkout` into a fresh work tree, the same
changes, `git add --all`, `git commit` to the same branch, `rm -rf`.

*Laid out and published* is all but the body's own time and the removal of the files; of git, it is checkout, add and
commit. *Whole* is everything from the start of the programs to their end. CPU and memory are what the kernel says of
the whole programs, their children included; memory is that of the largest process. Figures are medians, with the
least and the greatest; ratios are of samples taken right after one another (A B A B …), after one round that does not
count.

What git does not do: Perago syncs everything to the disk before the branch moves, checks the hash of what it lays
out, and judges every name.
"""


def report(results: Results, machine: Mapping[str, str], when: datetime, command: str) -> str:
    """The text of RESULTS.md; the plots lie beside it."""
    lines = ["# Results", "", f"Made by `{command}` on {when:%Y-%m-%d}.", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in machine.items()]
    lines += ["", "## In short", "", *_short(results), "", "## What is measured", "", _ABOUT]
    lines += ["## Many small files", ""]
    for comparison in results.small.values():
        lines += [f"### {comparison.title}", "", *_comparison(comparison), ""]
    lines += ["## One large file", "", *_about_large(results)]
    for comparison in results.large.values():
        lines += [f"### {comparison.title}", "", *_comparison(comparison), ""]
    lines += ["## Growth", ""]
    lines += _growth("files in the commit", results.by_files, FILES_PLOT)
    lines += _growth("changed files", results.by_changes, CHANGES_PLOT)
    if results.left_out:
        lines += [f"There was no time for {', '.join(results.left_out)}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def plots(results: Results) -> dict[str, str]:
    """The plots by their file names."""
    return {
        name: plot(f"Laid out and published, by {by}", by, "seconds", _lines(growth))
        for name, by, growth in (
            (FILES_PLOT, "files in the commit", results.by_files),
            (CHANGES_PLOT, "changed files", results.by_changes),
        )
        if growth
    }


def _lines(growth: Mapping[int, Comparison]) -> dict[str, dict[int, Spread]]:
    return {
        side: {number: comparison.spread(side, publishing) for number, comparison in growth.items()}
        for side in (ATTEMPT, GIT)
    }


def _short(results: Results) -> Iterator[str]:
    for comparison in results.small.values():
        ratio = comparison.ratio(ATTEMPT, GIT, publishing)
        yield f"- {comparison.title}: {_ratio(ratio)} of git's time, {_verdict(ratio.median <= MAX_RATIO, MAX_RATIO)}"
    first = next(iter(results.large.values()))
    yield f"- {first.title}: {_ratio(first.ratio(ATTEMPT, GIT, publishing))} of git's time"
    peaks = [comparison.spread(ATTEMPT, peak).median for comparison in results.large.values()]
    grown = max(peaks) - min(peaks)
    sizes = " and ".join(f"{size // MIB:,} MiB" for size in results.large)
    yield (
        f"- memory on a file of {sizes}: {_bytes(max(peaks))} at most, {_bytes(grown)} apart, "
        f"{_verdict(grown <= MAX_GROWTH, f'{MAX_GROWTH // MIB} MB')}"
    )


def _verdict(reached: bool, limit: object) -> str:
    return f"at most {limit} is to be reached: {'reached' if reached else '**not reached**'}"


def _about_large(results: Results) -> list[str]:
    has_lfs = any(LFS in comparison.samples for comparison in results.large.values())
    beside = "git with git-lfs works on the same repository" if has_lfs else "git-lfs is not installed here"
    return [
        f"Perago keeps the file in git-lfs layout, git as an object of its own, which it compresses; {beside}.",
        "",
    ]


def _comparison(comparison: Comparison) -> Iterator[str]:
    yield "| | laid out and published | whole | CPU | peak memory |"
    yield "|---|---|---|---|---|"
    for side in comparison.samples:
        own = "" if side == RUN else _seconds(comparison.spread(side, publishing))
        used = (_seconds(comparison.spread(side, whole)), _seconds(comparison.spread(side, cpu)))
        yield f"| {side} | {own} | {used[0]} | {used[1]} | {_bytes(comparison.spread(side, peak).median)} |"
    for other in (GIT, LFS):
        if other in comparison.samples:
            ratios = (_ratio(comparison.ratio(ATTEMPT, other, value)) for value in (publishing, whole, cpu))
            yield f"| **attempt / {other}** | {' | '.join(ratios)} | |"
    yield ""
    for side in comparison.samples:
        phases = comparison.phases(side)
        if phases:
            parts = [f"{name} {seconds:.3f}" for name, seconds in phases.items() if seconds >= SHOWN_SECONDS]
            yield f"{side}, seconds: {', '.join(parts)}."
            yield ""


def _growth(by: str, growth: Mapping[int, Comparison], plot_name: str) -> Iterator[str]:
    if not growth:
        return
    yield f"### By number of {by}"
    yield ""
    yield f"![Laid out and published, by {by}]({plot_name})"
    yield ""
    yield f"| {by} | attempt | git | attempt / git | attempt, per file | peak memory of the attempt |"
    yield "|---|---|---|---|---|---|"
    for number, comparison in growth.items():
        own = comparison.spread(ATTEMPT, publishing)
        yield (
            f"| {number:,} | {_seconds(own)} | {_seconds(comparison.spread(GIT, publishing))} "
            f"| {_ratio(comparison.ratio(ATTEMPT, GIT, publishing))} | {own.median / number * 1e6:.0f} µs "
            f"| {_bytes(comparison.spread(ATTEMPT, peak).median)} |"
        )
    yield ""


def _spread(spread: Spread, write: Callable[[float], str]) -> str:
    return f"{write(spread.median)} ({write(spread.least)} to {write(spread.greatest)})"


def _seconds(spread: Spread) -> str:
    return f"{_spread(spread, lambda value: f'{value:.3f}' if value < 10 else f'{value:.1f}')} s"


def _ratio(spread: Spread) -> str:
    return _spread(spread, lambda value: f"{value:.2f}")


def _bytes(count: float) -> str:
    return f"{count / MIB:.0f} MB"
