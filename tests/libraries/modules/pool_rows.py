"""Bodies that compute in the processes of joblib, of dask, and of the standard library."""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.bag
import joblib
import numpy as np
from plain_rows import Params, Result, row

KEPT: list[Any] = []
LARGE = 300_000
"""Numbers in an array that joblib has its processes map into memory: above its limit of 1 MB."""


def _square(number: int) -> int:
    return number * number


def _write_late(path: Path) -> None:
    time.sleep(0.2)
    path.write_text("written")


def _sum(array: np.ndarray[Any, Any], number: int) -> list[Any]:
    return [float(array.sum()) + number, type(array).__name__]


def _use_joblib(backend: str) -> Result:
    array = np.arange(float(LARGE))
    sums = [joblib.delayed(_sum)(array, number) for number in range(4)]
    with joblib.parallel_config(backend=backend):
        return Result(value=[joblib.Parallel(n_jobs=2)(sums) for _ in range(2)])


@row
def use_loky(workspace: Path, params: Params) -> Result:
    return _use_joblib("loky")


@row
def use_the_back_end_of_multiprocessing(workspace: Path, params: Params) -> Result:
    return _use_joblib("multiprocessing")


@row
def use_the_back_end_of_threads(workspace: Path, params: Params) -> Result:
    return _use_joblib("threading")


@row
def compute_in_processes_of_dask(workspace: Path, params: Params) -> Result:
    squares = [dask.delayed(_square)(number) for number in range(6)]
    total = dask.bag.from_sequence(range(20), npartitions=4).map(_square).sum()
    return Result(value=dask.compute(squares, total, scheduler="processes", num_workers=2))


@row
def leave_a_process_pool(workspace: Path, params: Params) -> Result:
    pool = ProcessPoolExecutor(2)
    KEPT.append(pool)
    return Result(value=list(pool.map(_square, range(6))))


@row
def leave_a_process_pool_at_work(workspace: Path, params: Params) -> Result:
    """Python waits for it."""
    pool = ProcessPoolExecutor(2)
    for number in range(4):
        pool.submit(_write_late, workspace / f"{number}.txt")
    KEPT.append(pool)
    return Result()


@row
def use_every_pool(workspace: Path, params: Params) -> Result:
    """Some are left as they are."""
    found: dict[str, list[int]] = {}
    with multiprocessing.Pool(2) as pool:
        found["Pool"] = pool.map(_square, range(5))
    with ProcessPoolExecutor(2) as executor:
        found["ProcessPoolExecutor"] = list(executor.map(_square, range(5)))
    left = [multiprocessing.Pool(2), ProcessPoolExecutor(2)]
    found["left"] = [list(pool.map(_square, range(5))) for pool in left]
    KEPT.extend(left)
    found["loky"] = joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(_square)(number) for number in range(5))
    return Result(value=found)


@row
def print_a_line(workspace: Path, params: Params) -> Result:
    print("one line", file=sys.stderr)
    return Result()
