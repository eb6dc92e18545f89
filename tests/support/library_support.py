"""What the tests with real libraries need: the libraries, readers of their files, and a worker that is listened to."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perago.worker.attempts.journal import LOGGER as JOURNAL
from places import MODULES, READERS, Seen, Worker

PYTHON_PATH = os.pathsep.join([str(Path(__file__).parents[1] / "libraries" / "modules"), str(MODULES)])

_LIBRARIES = ("dask", "duckdb", "h5py", "joblib", "pandas", "pyarrow", "sklearn")
_MISSING = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]

needs_libraries = pytest.mark.skipif(bool(_MISSING), reason=f"needs {', '.join(_MISSING)}: make libraries")

_SHARED = re.compile(r"joblib_|loky-|psm_|pym-|sem\.|torch_")
_SHM = Path("/dev/shm")


def shared_memory() -> set[str]:
    """What multiprocessing, joblib and loky have in shared memory."""
    return {path.name for path in _SHM.iterdir() if _SHARED.match(path.name)} if _SHM.is_dir() else set()


class ListenedWorker(Worker):
    """A worker of which every line is known that its bodies print or log.

    What its executors write to stderr besides, to which nobody listens in them, counts as well.
    """

    def __init__(self, directory: Path, body_start: str, targets: list[str]) -> None:
        super().__init__(directory, body_start, targets)
        self._stderr = directory / "stderr.txt"
        self._read = 0
        self._lines = _Lines()

    def __enter__(self) -> ListenedWorker:
        self._lines.__enter__()
        with _stderr_in(self._stderr):  # executors keep what they begin with
            super().__enter__()
        self._executors = self._executor_ids()
        return self

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        self._lines.__exit__()

    def run(self, target: str, **params: Any) -> Seen:
        seen = super().run(target, **params)
        assert self._executor_ids() == self._executors, "an executor was replaced, and is not listened to"
        text = self._stderr.read_bytes()[self._read :]
        self._read += len(text)
        return replace(seen, stderr=self._lines.take() + text.decode())

    def _executor_ids(self) -> set[int]:
        return {process.pid for process in self.supervised.executors()}


class _Lines(logging.Handler):
    """What the bodies of a worker in this process print or log; not what the worker says itself, such as that it stood
    still on a busy machine."""

    def __enter__(self) -> None:
        self._text = ""
        self._level = JOURNAL.level
        JOURNAL.setLevel(logging.INFO)
        JOURNAL.addHandler(self)

    def __exit__(self, *_: object) -> None:
        JOURNAL.setLevel(self._level)
        JOURNAL.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != JOURNAL.name:
            self._text += f"{record.getMessage()}\n"

    def take(self) -> str:
        text, self._text = self._text, ""
        return text


@contextmanager
def _stderr_in(path: Path) -> Iterator[None]:
    kept = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _columns(path: Path) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).read().to_pydict()


def _table_of_duckdb(path: Path) -> Any:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as database:
        return database.execute("select * from found").fetchall()


def _datasets(path: Path) -> Any:
    import h5py

    with h5py.File(path) as file:
        return {name: held[:].tolist() for name, held in file.items()}


def _array(path: Path) -> Any:
    import numpy as np

    return np.load(path).tolist()


def _trees(path: Path) -> Any:
    import joblib

    return [tree.tree_.threshold.tolist() for tree in joblib.load(path).estimators_]


def _tensors(path: Path) -> Any:
    import torch

    return {name: held.tolist() for name, held in torch.load(path).items()}


READERS.update(
    {
        ".parquet": _columns,
        ".duckdb": _table_of_duckdb,
        ".h5": _datasets,
        ".npy": _array,
        ".joblib": _trees,
        ".pt": _tensors,
    }
)
