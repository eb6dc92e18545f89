"""Changes of a body to its files. A separate module, to keep the memory of the measuring process small."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def change_files(root: Path, count: int, word: str) -> list[str]:
    """Write a word into the middle of some files below a directory; returns their paths."""
    chosen = _chosen(root, count)
    for path in chosen:
        with open(path, "r+b") as file:  # noqa: PTH123 - half the time of Path
            file.seek(os.fstat(file.fileno()).st_size // 2)
            file.write(word.encode())
    return chosen


def append_to_files(root: Path, count: int, word: str) -> list[str]:
    """Append a word's first letter to some files below a directory; returns their paths."""
    chosen = _chosen(root, count)
    for path in chosen:
        with open(path, "ab") as file:  # noqa: PTH123 - as above
            file.write(word[:1].encode())
    return chosen


CHANGES: dict[str, Callable[[Path, int, str], list[str]]] = {"change": change_files, "append": append_to_files}
"""Functions by name of their task in `benchmarks.tasks`."""


def _chosen(root: Path, count: int) -> list[str]:
    """A number of files, spread over all of them."""
    paths = sorted(
        os.path.join(directory, name)  # noqa: PTH118 - half the time of Path
        for directory, _, names in os.walk(root)
        for name in names
    )
    step = max(len(paths) // count, 1)
    return paths[::step][:count]
