"""The part: attempts on the lakeFS store, compared with the reference, lakectl and bare HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from benchmarks.lakefs import reference
from benchmarks.lakefs.cases import TINY, Measuring, Plan, Results
from benchmarks.lakefs.report import plots, report, short
from benchmarks.parts import CannotMeasureError, Measured
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if LAKEFS.is_missing:
        raise CannotMeasureError(LAKEFS.missing)
    with LakeFSServer(parent=directory) as server, server.api() as api:
        results = Measuring(TINY if tiny else Plan(), directory, server, api).run()
    return Measured(
        title="Attempts on the lakeFS store, beside the reference, lakectl and bare HTTP",
        versions={"lakeFS": LAKEFS.version, "aiohttp": version("aiohttp"), **_reference(results)},
        short=short(results),
        text=report(results),
        plots=plots(results),
    )


def _reference(results: Results) -> Mapping[str, str]:
    return reference.versions() if results.no_reference is None else {}
