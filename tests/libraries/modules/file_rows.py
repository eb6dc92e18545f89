"""Bodies that use pandas, PyArrow, NumPy, DuckDB and h5py, and leave open what those let a program leave open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from plain_rows import Params, Result, row

KEPT: list[Any] = []


def _frame() -> pd.DataFrame:
    return pd.DataFrame({"island": ["Dream", "Biscoe", "Torgersen"] * 400, "mass": np.arange(1200.0)})


@row
def write_and_read_frames(workspace: Path, params: Params) -> Result:
    """With the thread pools of PyArrow."""
    frame = _frame()
    frame.to_parquet(workspace / "frame.parquet")
    pq.write_to_dataset(
        pa.Table.from_pandas(frame), workspace / "islands", ["island"], basename_template="part-{i}.parquet"
    )
    means = pd.read_parquet(workspace / "frame.parquet").groupby("island")["mass"].mean()
    read = pd.read_parquet(workspace / "islands")
    return Result(value={"means": means.to_dict(), "read": len(read), "columns": sorted(read.columns)})


def _write_parquet(path: Path) -> pq.ParquetWriter:
    table = pa.Table.from_pandas(_frame())
    writer = pq.ParquetWriter(path, table.schema)
    writer.write_table(table)
    return writer


@row
def leave_a_parquet_writer_open(workspace: Path, params: Params) -> Result:
    """Its footer, without which nobody can read the file, is written when it is closed."""
    KEPT.append(_write_parquet(workspace / "left.parquet"))
    return Result()


@row
def leave_a_parquet_writer_in_a_cycle(workspace: Path, params: Params) -> Result:
    ring: list[Any] = [_write_parquet(workspace / "left.parquet")]
    ring.append(ring)
    return Result()


@row
def leave_a_mapped_array_open(workspace: Path, params: Params) -> Result:
    mapped = np.lib.format.open_memmap(workspace / "left.npy", mode="w+", dtype=np.int64, shape=(1000,))
    mapped[:] = np.arange(1000)
    KEPT.append(mapped)
    return Result()


@row
def leave_duckdb_open(workspace: Path, params: Params) -> Result:
    """What it has written is in its `.wal`, until its last connection is closed."""
    database = duckdb.connect(str(workspace / "left.duckdb"))
    database.execute("create table found as select range as number from range(1000)")
    database.execute("insert into found values (4242)")
    database.execute(f"copy (select sum(number) as total from found) to '{workspace}/total.parquet'")
    KEPT.append(database)
    return Result(value=[(workspace / name).exists() for name in ("left.duckdb.wal", "total.parquet")])


@row
def query_frames_with_duckdb(workspace: Path, params: Params) -> Result:
    frame = _frame()  # noqa: F841 - DuckDB finds it by its name
    found = duckdb.sql("select island, sum(mass) from frame group by island order by island").fetchall()
    return Result(value=[list(entry) for entry in found])


@row
def leave_hdf5_open(workspace: Path, params: Params) -> Result:
    file = h5py.File(workspace / "left.h5", "w")
    file.create_dataset("numbers", data=np.arange(1000), chunks=(100,), compression="gzip")
    KEPT.append(file)
    return Result()


@row
def leave_hdf5_in_memory(workspace: Path, params: Params) -> Result:
    """The library writes the file when it is closed, and has no descriptor before."""
    file = h5py.File(workspace / "memory.h5", "w", driver="core")
    file.create_dataset("numbers", data=np.arange(1000))
    KEPT.append(file)
    return Result()
