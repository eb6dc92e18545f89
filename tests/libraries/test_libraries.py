"""Bodies that use real libraries do, and leave, what a program does. `make libraries`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from landlock import LACKS, REASON
from library_support import PYTHON_PATH, ListenedWorker, needs_libraries
from perago.ports import Phase
from places import PeragoRun

pytestmark = [needs_libraries, pytest.mark.usefixtures("nothing_shared_is_left"), pytest.mark.timeout(900)]

ROWS = [
    "cache_rows:draw_a_figure",
    "cache_rows:compile_a_function",
    "cache_rows:keep_a_model_in_a_hub_s_cache",
    "file_rows:write_and_read_frames",
    "file_rows:leave_a_parquet_writer_open",
    "file_rows:leave_a_parquet_writer_in_a_cycle",
    "file_rows:leave_a_mapped_array_open",
    "file_rows:leave_duckdb_open",
    "file_rows:query_frames_with_duckdb",
    "file_rows:leave_hdf5_open",
    "file_rows:leave_hdf5_in_memory",
    "learning_rows:fit_in_two_jobs",
    "learning_rows:boost_gradients",
    "pool_rows:use_loky",
    "pool_rows:use_the_back_end_of_multiprocessing",
    "pool_rows:use_the_back_end_of_threads",
    "pool_rows:compute_in_processes_of_dask",
    "pool_rows:leave_a_process_pool",
    "pool_rows:leave_a_process_pool_at_work",
    "pool_rows:print_a_line",  # shows that what is compared below would be seen
]

OWN_LINES = (
    "Run ",
    "Nothing changed: ",
    "Published ",
    "To show its history:",
    "  perago log ",
    *(f"{phase.value}: " for phase in Phase),
)
"""How the lines begin that `perago run` writes to stderr itself."""


@pytest.fixture(scope="module")
def perago_run(body_start: str, tmp_path_factory: pytest.TempPathFactory) -> PeragoRun:
    return PeragoRun(tmp_path_factory.mktemp("run"), body_start, PYTHON_PATH)


@pytest.fixture(scope="module")
def confined_run(body_start: str, tmp_path_factory: pytest.TempPathFactory) -> PeragoRun:
    if LACKS:
        pytest.skip(REASON)
    return PeragoRun(tmp_path_factory.mktemp("confined"), body_start, PYTHON_PATH, sandbox="enforce")


@pytest.fixture(scope="module")
def worker(body_start: str, module_path: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListenedWorker]:
    directory = tmp_path_factory.mktemp("worker")
    with ListenedWorker(directory, body_start, ["cache_rows", "file_rows", "learning_rows", "pool_rows"]) as worker:
        yield worker


@pytest.mark.parametrize("target", ROWS)
def test_a_confined_body_does_what_a_program_does(confined_run, expected, target):
    seen = confined_run.run(target)
    assert seen.reason == ""
    assert (seen.value, seen.files) == (expected(target).value, expected(target).files)


@pytest.mark.parametrize("target", ROWS)
def test_perago_run_does_what_a_program_does(perago_run, expected, target):
    seen = perago_run.run(target)
    assert seen == expected(target)
    said = [line for line in seen.stderr.splitlines() if not line.startswith(OWN_LINES)]
    assert said == expected(target).stderr.splitlines()


@pytest.mark.parametrize("target", ROWS)
@pytest.mark.parametrize("time", ["first", "second"])
def test_all_of_them_twice_in_one_worker(worker, expected, time, target):
    seen = worker.run(target)
    assert seen == expected(target)
    assert seen.stderr == expected(target).stderr


def test_a_model_that_is_fitted_when_its_module_is_loaded(perago_run, body_start, module_path, expected, tmp_path):
    wanted = expected("fitted_rows:predict")
    assert perago_run.run("fitted_rows:predict") == wanted
    with ListenedWorker(tmp_path, body_start, ["fitted_rows"]) as worker:
        assert worker.run("fitted_rows:predict") == wanted
        free = worker.supervised.schedule("predict_without_a_workspace")
        assert worker.supervised.completed(free, 240)["value"] == wanted.value
