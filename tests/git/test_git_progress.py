"""What the observer hears of moving data, and what loading the store costs."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from git_support import EVERYTHING, make_execution, write_files
from perago.errors import TaskCancelledError
from perago.ports import Phase
from perago.stores.git import GitStore
from perago.values.history import Publish
from perago.values.models import Changes
from perago.workspace.progress import INTERVAL_SECONDS, TransferProgress


class SteppingClock:
    """Each look at it costs a quarter of the interval between events."""

    def __init__(self):
        self.time = 0.0

    def monotonic(self):
        self.time += INTERVAL_SECONDS / 4
        return self.time

    def now(self):
        return datetime.now(UTC)


LARGE = os.urandom(12 << 20)


def test_the_last_event_of_a_phase_says_all_of_it(bench):
    events = []
    store = GitStore(bench.path, observer=events.append)
    base = bench.import_files({f"f{number}": b"x" * 10 for number in range(50)})
    target = bench.root / "target"
    target.mkdir()
    store.download_workspace(bench.input(base), EVERYTHING, target)
    assert (events[-1].phase, events[-1].kind) == (Phase.MATERIALIZE, "progress")
    assert events[-1].attributes == {"files": 50, "bytes": 500, "total_files": 50}

    write_files(target, {"new": b"12345"})
    execution = make_execution(base, changes=Changes(added=("new",)), plan=Publish(base))
    store.stage_workspace(target, bench.input(base), EVERYTHING, execution)
    assert (events[-1].phase, events[-1].execution_id) == (Phase.STAGE, execution.execution_id)
    assert events[-1].attributes == {"files": 1, "bytes": 5, "total_files": 1}


def test_a_large_file_under_way_says_how_far_it_is(bench):
    events = []
    store = GitStore(bench.path, observer=events.append, clock=SteppingClock())
    base = bench.import_files({"a": b"a", "large": LARGE})
    target = bench.root / "target"
    target.mkdir()
    store.download_workspace(bench.input(base), EVERYTHING, target)
    write_files(target, {"large": LARGE[::-1]})
    execution = make_execution(base, changes=Changes(modified=("large",)), plan=Publish(base))
    store.stage_workspace(target, bench.input(base), EVERYTHING, execution)
    store.import_directory(target, "other", "m")
    for phase, small, files in ((Phase.MATERIALIZE, 1, 2), (Phase.STAGE, 0, 1)):
        told = [dict(event.attributes) for event in events if event.phase is phase]
        under_way = [told["bytes"] for told in told if told["files"] == files - 1 and told["bytes"] > small]
        assert len(under_way) >= 2, "12 chunks, and an event for every fourth look at the clock"
        assert under_way[0] < under_way[1] <= len(LARGE) + small
        assert {"files": files, "bytes": len(LARGE) + small, "total_files": files} in told


@pytest.mark.parametrize("phase", [Phase.MATERIALIZE, Phase.STAGE])
def test_an_observer_can_stop_a_large_file_under_way_and_nothing_of_it_is_left(bench, phase):
    def stop(event):
        if event.phase is phase:
            assert event.attributes["files"] == 0
            raise TaskCancelledError("enough")

    base = bench.import_files({"large": LARGE})
    before = sorted(path for path in (bench.path / "lfs").rglob("*") if path.is_file())
    store = GitStore(bench.path, observer=stop, clock=SteppingClock())
    target = bench.root / "target"
    write_files(target, {"large": LARGE[::-1]})
    execution = make_execution(base, changes=Changes(modified=("large",)), plan=Publish(base))
    moves = {
        Phase.STAGE: lambda: store.stage_workspace(target, bench.input(base), EVERYTHING, execution),
        Phase.MATERIALIZE: lambda: store.export(base, "/", bench.root / "out"),
    }
    with pytest.raises(TaskCancelledError):
        moves[phase]()
    assert sorted(path for path in (bench.path / "lfs").rglob("*") if path.is_file()) == before
    assert not (bench.root / "out").exists()
    assert bench.git("for-each-ref", "refs/perago") == ""


def test_imports_and_exports_say_how_far_they_are(bench):
    events = []
    store = GitStore(bench.path, observer=events.append)
    source = bench.root / "source"
    write_files(source, {"a": b"123", "b": b"45"})
    ref = store.import_directory(source, "main", "m")
    store.export(ref, "/", bench.root / "out")
    totals = [(event.phase, dict(event.attributes)) for event in events if event.attributes["files"] == 2]
    assert totals == [
        (Phase.STAGE, {"files": 2, "bytes": 5, "total_files": 2}),
        (Phase.MATERIALIZE, {"files": 2, "bytes": 5, "total_files": 2}),
    ]


def test_events_come_now_and_then_and_not_for_every_file():
    events = []
    progress = TransferProgress(events.append, SteppingClock(), Phase.STAGE, total_files=100)
    for _ in range(100):
        progress.add(1)
    assert 20 <= len(events) <= 26
    assert events[-1].attributes["files"] == 100
    assert events[-1].seconds > events[0].seconds


def test_loading_the_package_loads_no_pygit2():
    code = (
        "import sys, perago.stores.git\n"
        "assert 'pygit2' not in sys.modules\n"
        "perago.stores.git.GitStore\n"
        "assert 'pygit2' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
