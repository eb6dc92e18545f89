"""Bodies of libraries that keep caches of their own in the home of their user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib as mpl
from plain_rows import Params, Result, row

mpl.use("Agg")


@row
def draw_a_figure(workspace: Path, params: Params) -> Result:
    """Fonts are looked for, and a list of them is kept."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2, 3], label="found")
    axes.set_title("Fonts")
    axes.legend()
    figure.savefig(workspace / "figure.svg", metadata={"Date": None})
    begins = (workspace / "figure.svg").read_text()[:5]
    (workspace / "figure.svg").unlink()  # ids in it are drawn anew each time
    return Result(value=[begins, Path(mpl.get_cachedir()).is_dir()])


@row
def compile_a_function(workspace: Path, params: Params) -> Result:
    """Machine code is kept beside the module, or in the home where that is refused."""
    import numba

    @numba.njit(cache=True)
    def total(to: int) -> int:
        found = 0
        for number in range(to):
            found += number
        return found

    @numba.njit(parallel=True)
    def in_parallel(to: int) -> int:
        found = 0
        for number in numba.prange(to):
            found += number
        return found

    return Result(value=[total(1000), in_parallel(1000)])


@row
def keep_a_model_in_a_hub_s_cache(workspace: Path, params: Params) -> Result:
    """As a hub of models does: blobs by their digest, linked to from snapshots, with a lock."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "perago-test"
    blob, snapshot = home / "blobs" / "d1", home / "snapshots" / "v1" / "config.json"
    for directory in (blob.parent, snapshot.parent):
        directory.mkdir(parents=True, exist_ok=True)
    blob.write_text("{}")
    snapshot.unlink(missing_ok=True)
    snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
    found: Any = snapshot.read_text()
    return Result(value=found)
