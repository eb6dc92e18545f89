"""A disk under the records that refuses."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from forks import fork
from perago.engines.local import LocalEngine
from perago.engines.local.directory import RunsDirectory
from perago.errors import EngineError
from perago.values.models import RuntimeTaskResult

START = {"target": "t", "task_name": "t", "input_data": {"params": {}}}
NOBODY = 65534


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small disk")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs root, with the right to mount a small file system")
    yield path
    unmounted = subprocess.run(["umount", str(path)], capture_output=True)
    if unmounted.returncode:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
    assert unmounted.returncode == 0, "a file on the disk is still open"


def test_a_full_disk_is_said_to_be_and_the_record_stands(small_disk):
    engine = LocalEngine(small_disk / "runs")
    large = RuntimeTaskResult("COMPLETED", {"result": {"text": "x" * 100_000}})
    with engine.start_run(**START) as run:
        with pytest.raises(EngineError, match=r"No space left.*free some space"):
            engine.report_result(run.attempt, large)
        assert engine.load_current_attempt(run.attempt).status == "IN_PROGRESS"
        assert names_in(small_disk / "runs" / run.run_id) == ["lock", "run.json"]
        engine.report_result(run.attempt, RuntimeTaskResult("FAILED", reason_for_incompletion="the disk is full"))
    assert next(engine.runs()).reason == "the disk is full"


def test_a_cancel_counts_though_it_cannot_be_recorded(small_disk):
    engine = LocalEngine(small_disk / "runs")
    run = engine.start_run(**START)
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 1024):
            continue
    with pytest.raises(EngineError, match="No space left"):
        run.cancel()
    filler.unlink()
    assert engine.load_current_attempt(run.attempt).status == "CANCELED"
    engine.report_result(run.attempt, RuntimeTaskResult("COMPLETED", {"result": {}}))
    assert run.attempt.status == "CANCELED"
    run.close()
    assert next(engine.runs()).status == "CANCELED"


def interrupted(self, record, *, write=RunsDirectory.write):
    """Ctrl-C comes when a record is on disk, and before anybody knows."""
    write(self, record)
    raise KeyboardInterrupt


@pytest.mark.parametrize("then", ["cancel", "close", "report", "next_try"])
def test_after_an_interrupted_write_what_is_on_disk_counts(tmp_path, monkeypatch, then):
    engine = LocalEngine(tmp_path / "runs")
    run = engine.start_run(**START)
    monkeypatch.setattr(RunsDirectory, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.report_result(run.attempt, RuntimeTaskResult("COMPLETED", {"result": {"rows": 1}}))
    monkeypatch.undo()
    if then == "cancel":
        run.cancel()
    elif then == "report":
        engine.report_result(run.attempt, RuntimeTaskResult("FAILED", reason_for_incompletion="interrupted"))
    elif then == "next_try":
        with pytest.raises(EngineError, match="COMPLETED"):
            run.next_try("interrupted")
    run.close()
    assert next(engine.runs()).status == "COMPLETED"


def test_a_run_that_cannot_be_recorded_is_not_started(small_disk):
    engine = LocalEngine(small_disk / "runs")
    with pytest.raises(EngineError, match="No space left"):
        engine.start_run(**START, options={"text": "x" * 100_000})
    assert names_in(small_disk / "runs") == [".lock"]
    engine.start_run(**START).close()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "runs").write_text("mine")
    engine = LocalEngine(tmp_path / "runs")
    with pytest.raises(EngineError, match="in the way"):
        engine.start_run(**START)
    with pytest.raises(EngineError, match="cannot list"):
        next(engine.runs())


@pytest.fixture
def open_directory():
    """A directory that every user reaches; pytest's own are the user's alone."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_directory_of_somebody_else_is_refused(open_directory):
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    engine = LocalEngine(open_directory / "runs")
    run = engine.start_run(**START)
    run.close()
    for directory in (open_directory / "runs", open_directory / "runs" / run.run_id):
        directory.chmod(0o755)
    child = fork()
    if not child:
        outcome = 9
        try:
            outcome = _as_nobody(engine, run.run_id)
        finally:
            os._exit(outcome)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _as_nobody(engine, run_id):
    """0 where each call says what is wrong."""
    os.setuid(NOBODY)
    if [summary.status for summary in engine.runs()] != ["unreadable"]:
        return 1
    for call in (lambda: engine.start_run(**START), lambda: engine.resume_run(run_id)):
        try:
            call()
        except EngineError as exc:
            if "give this user permission" not in str(exc):
                return 2
        else:
            return 3
    return 0
