"""Comparisons as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.compare import Comparison, Spread, cpu, peak, publishing, whole

MIB = 1 << 20
SHOWN_SECONDS = 0.0005


def comparison_table(comparison: Comparison, subject: str, beside: Sequence[str]) -> Iterator[str]:
    """Figures of each side, ratios of the subject to the existing others, and seconds by phase."""
    yield "| | laid out and published | whole | CPU | peak memory |"
    yield "|---|---|---|---|---|"
    for side in comparison.samples:
        own = seconds_text(comparison.spread(side, publishing)) if comparison.phases(side) else ""
        used = (seconds_text(comparison.spread(side, whole)), seconds_text(comparison.spread(side, cpu)))
        yield f"| {side} | {own} | {used[0]} | {used[1]} | {bytes_text(comparison.spread(side, peak).median)} |"
    for other in beside:
        if other in comparison.samples:
            ratios = (ratio_text(comparison.ratio(subject, other, value)) for value in (publishing, whole, cpu))
            yield f"| **{subject} / {other}** | {' | '.join(ratios)} | |"
    yield ""
    yield from _phases(comparison)


def _phases(comparison: Comparison) -> Iterator[str]:
    for side in comparison.samples:
        phases = comparison.phases(side)
        if phases:
            parts = [f"{name} {seconds:.3f}" for name, seconds in phases.items() if seconds >= SHOWN_SECONDS]
            yield f"{side}, seconds by phase: {', '.join(parts)}."
            yield ""


def growth_table(by: str, growth: Mapping[int, Comparison], subject: str, beside: str) -> Iterator[str]:
    """Growth of two sides' figures with a number."""
    yield f"| {by} | {subject} | {beside} | ratio | {subject}, for each | peak memory |"
    yield "|---|---|---|---|---|---|"
    for number, comparison in growth.items():
        own = comparison.spread(subject, publishing)
        yield (
            f"| {number:,} | {seconds_text(own)} | {seconds_text(comparison.spread(beside, publishing))} "
            f"| {ratio_text(comparison.ratio(subject, beside, publishing))} | {own.median / number * 1e6:.0f} µs "
            f"| {bytes_text(comparison.spread(subject, peak).median)} |"
        )
    yield ""


def verdict(reached: bool, limit: object, bound: str = "at most") -> str:
    """A requirement, and whether it is met."""
    return f"required {bound} {limit}: {'reached' if reached else '**not reached**'}"


def seconds_text(spread: Spread) -> str:
    return f"{_spread(spread, lambda value: f'{value:.3f}' if value < 10 else f'{value:.1f}')} s"


def ratio_text(spread: Spread) -> str:
    return _spread(spread, lambda value: f"{value:.2f}")


def bytes_text(count: float) -> str:
    return f"{count / MIB:.0f} MiB"


def _spread(spread: Spread, write: Callable[[float], str]) -> str:
    return f"{write(spread.median)} ({write(spread.least)} to {write(spread.greatest)})"
