"""The part: workers on Conductor, compared with conductor-python's runner and the reference, on one server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.conductor.cases import TINY, Measuring, Plan, Results, all_kinds
from benchmarks.conductor.report import report, short
from benchmarks.conductor.workers import REFERENCE, RUNNER, THEIR_RUNNER, THEIR_WORKER, Kind
from benchmarks.environments import NotInstalledError
from benchmarks.parts import CannotMeasureError, Measured
from servers import conductor_jar
from servers.conductor import JVM_OPTIONS, LASTING_JVM_OPTIONS, ConductorServer
from servers.go_build import LAKEFS
from servers.lakefs import LakeFSServer

_ENVIRONMENTS = {THEIR_RUNNER: RUNNER, THEIR_WORKER: REFERENCE}


def measure(directory: Path, tiny: bool) -> Measured:
    """See `benchmarks.parts.Measure`."""
    if missing := conductor_jar.what_is_missing():
        raise CannotMeasureError(missing)
    results = Results(TINY if tiny else Plan())
    kinds = [kind for kind in all_kinds() if _is_there(kind, results)]
    jvm_options = JVM_OPTIONS if tiny else LASTING_JVM_OPTIONS
    with ConductorServer(jvm_options=jvm_options, parent=directory) as server:
        measuring = Measuring(results, directory, server, kinds)
        measuring.light()
        measuring.idle()
        _files(measuring, results, directory)
    return Measured(
        title="Workers on Conductor, beside conductor-python's own runner and the reference",
        versions={"Conductor": f"{conductor_jar.VERSION}, on SQLite", **_versions(kinds, results)},
        short=short(results),
        text=report(results),
    )


def _files(measuring: Measuring, results: Results, directory: Path) -> None:
    if LAKEFS.is_missing:
        results.without_files = LAKEFS.missing
        return
    with LakeFSServer(parent=directory) as server, server.api() as api:
        measuring.files(server, api)


def _is_there(kind: Kind, results: Results) -> bool:
    """Whether a kind of worker can be measured in this run. Installs what it needs."""
    environment = _ENVIRONMENTS.get(kind)
    if environment is None:
        return True
    if not results.plan.outside:
        results.left_out.append(f"{kind.title}, to save time")
        return False
    try:
        environment.make()
    except NotInstalledError as exc:
        results.left_out.append(f"{kind.title}: {exc}")
        return False
    return True


def _versions(kinds: list[Kind], results: Results) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for kind in kinds:
        if kind in _ENVIRONMENTS:
            found |= _ENVIRONMENTS[kind].versions()
    return found if results.without_files is not None else {"lakeFS": LAKEFS.version, **found}
