"""What a body does to its files; by itself, so that who measures stays small in memory."""

from __future__ import annotations

import os
from pathlib import Path


def change_files(root: Path, count: int, word: str) -> int:
    """Write a word into the middle of some files below a directory; returns how many."""
    paths = sorted(
        os.path.join(directory, name)  # noqa: PTH118 - half the time of Path
        for directory, _, names in os.walk(root)
        for name in names
    )
    step = max(len(paths) // count, 1)
    chosen = paths[::step][:count]
    for path in chosen:
        with open(path, "r+b") as file:  # noqa: PTH123 - as above
            file.seek(os.fstat(file.fileno()).st_size // 2)
            file.write(word.encode())
    return len(chosen)
