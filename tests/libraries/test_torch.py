"""PyTorch in bodies: its DataLoader, compiler and hub. Its wheel is too large for CI."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from landlock import LACKS, REASON
from library_support import PYTHON_PATH, ListenedWorker
from places import PeragoRun

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="torch is installed by hand, its wheel is large: .venv-libraries/bin/pip install torch, then "
        "make libraries TESTS=tests/libraries/test_torch.py",
    ),
    pytest.mark.usefixtures("nothing_shared_is_left"),
    pytest.mark.timeout(900),
]

ROWS = [
    "load_in_forks",
    "load_in_fresh_processes",
    "leave_persistent_forks",
    "leave_persistent_fresh_processes",
    "leave_a_loader_half_read",
    "train",
    "train_from_files",
    "compile_a_model",
    "keep_models_of_a_hub",
    "reduce_alone",
]


@pytest.fixture(scope="module")
def confined_run(body_start: str, tmp_path_factory: pytest.TempPathFactory) -> PeragoRun:
    if LACKS:
        pytest.skip(REASON)
    return PeragoRun(tmp_path_factory.mktemp("confined"), body_start, PYTHON_PATH, sandbox="enforce")


@pytest.fixture(scope="module")
def worker(body_start: str, module_path: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListenedWorker]:
    with ListenedWorker(tmp_path_factory.mktemp("worker"), body_start, ["torch_rows"]) as worker:
        yield worker


@pytest.mark.parametrize("row", ROWS)
def test_a_confined_body_does_what_a_program_does(confined_run, expected, row):
    seen, plain = confined_run.run(f"torch_rows:{row}"), expected(f"torch_rows:{row}")
    assert (seen.reason, seen.value, seen.files) == ("", plain.value, plain.files)


@pytest.mark.parametrize("row", ROWS)
def test_perago_run_does_what_a_program_does(body_start, expected, tmp_path, row):
    assert PeragoRun(tmp_path, body_start, PYTHON_PATH).run(f"torch_rows:{row}") == expected(f"torch_rows:{row}")


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("time", ["first", "second"])
def test_all_of_them_twice_in_one_worker(worker, expected, time, row):
    seen = worker.run(f"torch_rows:{row}")
    assert seen == expected(f"torch_rows:{row}")
    assert seen.stderr == expected(f"torch_rows:{row}").stderr
