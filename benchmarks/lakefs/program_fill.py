"""Fills a repository with a benchmark's files. A separate program, to keep the memory of the measuring process small.

usage: python -m benchmarks.lakefs.program_fill URL REPOSITORY DIRECTORY FILES SIZE
with the access key in PERAGO_BENCH_KEY_ID and PERAGO_BENCH_SECRET.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.inputs import Content, written
from perago.stores.lakefs import LakeFSStore


def main() -> None:
    """Commit the files to `main`."""
    url, repository, directory, files, size = sys.argv[1:]
    store = LakeFSStore(
        endpoint_url=url,
        access_key_id=os.environ["PERAGO_BENCH_KEY_ID"],
        secret_access_key=os.environ["PERAGO_BENCH_SECRET"],
    )
    with store, written(Content(int(files), int(size)), Path(directory)) as source:
        store.repository(repository).import_directory(source, "main", "the input")


if __name__ == "__main__":
    main()
