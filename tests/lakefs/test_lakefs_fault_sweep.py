"""Every call of a port meets faults, in every scenario, on a real lakeFS; the scenarios are those of tests/faults."""

import uuid

import pytest

import figures
from clocks import LaterClock
from fault_scenarios import KINDS, SCENARIOS, sweep_scenario
from perago.values.models import WorkspaceInput
from perago.workspace.cache import ObjectCache
from servers.lakefs_api import LakeFSRepository
from servers.lakefs_hooks import ACTIONS, STAGING, store_on

BRANCH = "main"

# Each takes some seconds for each scenario; the stores in memory and in git go through all of them.
WRITING = ["first try", "retry that adopts", "retry that replaces", "snapshot, and replaces"]
SWEPT = {
    "error": [*WRITING, "no-op", "foreign commit", "elsewhere, and replaces"],
    "lost": [*WRITING, "retried no-op"],
    "crash": ["first try", "snapshot, and replaces"],
    "twice": ["first try", "retry that adopts"],
    "late, another worker does it": ["first try"],
    "late, a person commits": ["first try", "snapshot"],
}


@pytest.fixture
def repositories(lakefs_server, tmp_path):
    """Makes repositories on the server, as `fault_stores` has them for the other stores."""
    with (
        lakefs_server.api() as api,
        ObjectCache(tmp_path / "cache", 1 << 30) as cache,
        store_on(lakefs_server, cache=cache) as store,
        store_on(lakefs_server, clock=LaterClock()) as later,
    ):

        class Repository:
            """A repository of a `LakeFSStore`."""

            name = "lakefs"

            def __init__(self, directory, clock):
                name = f"perago-{uuid.uuid4().hex[:16]}"
                self.store = store
                self._raw: LakeFSRepository = api.create_repository(name, f"{lakefs_server.storage}{name}")
                self._files = {}

            def commit(self, files):
                """A person's commit."""
                content = {path: None if text is None else text.encode() for path, text in files.items()}
                return self._raw.commit_files(BRANCH, content)

            def head(self):
                return self._raw.head(BRANCH)

            def files(self, ref):
                if ref not in self._files:
                    found = self._raw.files(ref).items()
                    self._files[ref] = {path: data for path, data in found if not path.startswith(ACTIONS)}
                return self._files[ref]

            def parent(self, ref):
                return self._raw.show(ref)["parents"][0]

            def input(self, ref):
                return WorkspaceInput(repository=self._raw.name, branch=BRANCH, refType="commit", ref=ref)

            def line(self, root):
                return store.read_history(self.input(root)).commits

            def clean(self):
                """The store's janitor, for whom everything is old."""
                later.repository(self._raw.name).sweep(3600)

            def left(self):
                return self._raw.branches(STAGING, hidden=True)

        yield Repository


@pytest.mark.parametrize(
    ("kind", "scenario"), [(kind, scenario) for kind, scenarios in SWEPT.items() for scenario in scenarios]
)
def test_nothing_is_lost_or_done_twice_wherever_a_fault_strikes(tmp_path, repositories, counted, kind, scenario):
    swept = sweep_scenario(tmp_path, repositories, SCENARIOS[scenario], KINDS[kind])
    counted(figures.FAULTS)[f"lakefs/{kind.partition(',')[0]}"] += swept.met
    counted(figures.POINTS).update(there=swept.there, met=swept.met)
    counted(figures.BROKEN_POINTS)[f"lakefs/{kind}"] += len(swept.broken)
    assert swept.broken == {}
    assert swept.there >= 5
