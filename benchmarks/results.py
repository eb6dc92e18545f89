"""RESULTS.md, with a section for each part. Measuring a part replaces only its section."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from benchmarks.parts import PARTS, Measured

_HEAD = """\
# Results

`make bench` makes this page. `make bench BENCH_ONLY=<part>` makes one part again and leaves the others. Figures are
medians, with minimum and maximum. Ratios compare samples taken directly one after the other (A B A B …), after one
warm-up round.
"""
_SECTION = re.compile(r"^<!-- part: (\w+) -->\n(.*?)^<!-- end: \1 -->$", re.MULTILINE | re.DOTALL)


class Results:
    """The page and its plots in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._page = directory / "RESULTS.md"

    def put(self, part: str, text: str, plots: Mapping[str, str]) -> Path:
        """Replace a part's section and plots; returns the path of the page."""
        for name, drawn in plots.items():
            assert name.startswith(f"{part}-"), f"{name} could be a plot of another part"
            (self._directory / name).write_text(drawn, encoding="utf-8")
        for old in self._directory.glob(f"{part}-*.svg"):
            if old.name not in plots:
                old.unlink()
        sections = self._sections() | {part: text}
        self._page.write_text("\n".join([_HEAD, *_in_order(sections)]), encoding="utf-8")
        return self._page

    def _sections(self) -> dict[str, str]:
        if not self._page.exists():
            return {}
        return {found[1]: found[2] for found in _SECTION.finditer(self._page.read_text(encoding="utf-8"))}


def section(measured: Measured, machine: Mapping[str, str], when: datetime, command: str) -> str:
    """A part's section; `machine` describes the machine."""
    rows = [f"| {name} | {value} |" for name, value in {**measured.versions, **machine}.items()]
    lines = [f"## {measured.title}", "", f"Made by `{command}` on {when:%Y-%m-%d at %H:%M} UTC, with", ""]
    lines += ["| | |", "|---|---|", *rows, "", *(f"- {sentence}" for sentence in measured.short), ""]
    return "\n".join([*lines, measured.text.strip(), ""])


def _in_order(sections: Mapping[str, str]) -> Iterator[str]:
    """The known parts, then other sections."""
    for part in sorted(sections, key=lambda name: PARTS.index(name) if name in PARTS else len(PARTS)):
        yield f"<!-- part: {part} -->\n{sections[part]}<!-- end: {part} -->\n"
