"""The part: attempts on the git store, beside git itself."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from benchmarks.git.cases import TINY, Measuring, Plan
from benchmarks.git.report import plots, report, short
from benchmarks.machine import version_of
from benchmarks.parts import Measured


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    results = Measuring(TINY if tiny else Plan(), directory).run()
    versions = {
        "pygit2": f"{version('pygit2')}, libgit2 {_libgit2()}",
        "git": version_of("git", "--version"),
        "git-lfs": version_of("git-lfs", "version"),
    }
    return Measured(
        title="Attempts on the git store, beside git itself",
        versions=versions,
        short=short(results),
        text=report(results),
        plots=plots(results),
    )


def _libgit2() -> str:
    import pygit2

    return pygit2.LIBGIT2_VERSION
