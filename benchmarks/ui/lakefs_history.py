"""The same history on a lakeFS server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ui.history import BEGIN, CHANGED, CONTENT, STEP_SECONDS, WIDTH, Size, file_name, folder_name, stamp_of
from perago.stores.lakefs.api.answers import Commit
from perago.stores.lakefs.publication.history import publication_metadata
from servers.lakefs_api import LakeFSRepository

STATES = 100
"""States that the files go through, forth and back. Each costs the server's disk some MB."""

IMPORT_SECONDS = 300.0
_LOOK_SECONDS = 0.1


def write_files(directory: Path, size: Size) -> None:
    """Write the files of the first commit."""
    for number in range(max(size.files // WIDTH, 1)):
        folder = directory / folder_name(number)
        folder.mkdir(parents=True)
        for file in range(WIDTH):
            (folder / file_name(file)).write_bytes(CONTENT)


def make_history(repository: LakeFSRepository, files: Path, size: Size) -> list[str]:
    """As `history.make_history`, on the branch `main` of an empty repository.

    The server imports the files from its disk. Each following commit is one call, which names a state of the files
    that another branch has.

    Args:
        files: what `write_files` has written, where the server may import from.
    """
    commits = [_import(repository, files)]
    states = list(_states(repository, size))
    for number in range(1, size.commits):
        stamp = stamp_of(number, commits[-1], size)
        at = number % (2 * len(states) - 2)  # forth and back: neighbours always differ in the same number of files
        state = states[min(at, 2 * len(states) - 2 - at)]
        made = repository.commit(
            "main",
            f"{stamp.task}: ~{CHANGED} files",
            publication_metadata(stamp, state),
            source_metarange=state.meta_range_id,
            date=BEGIN + number * STEP_SECONDS,
        )
        commits.append(str(made["id"]))
    return commits


def _import(repository: LakeFSRepository, files: Path) -> str:
    """Import a directory of the server's disk; returns the id of the commit.

    Raises:
        TimeoutError, RuntimeError: the server has not done so.
    """
    source = {"path": f"local://{files}/", "destination": "", "type": "common_prefix"}
    asked = {"paths": [source], "commit": {"message": "Imported everything"}}
    began = repository.expect("POST", "/branches/main/import", data=asked)
    deadline = time.monotonic() + IMPORT_SECONDS
    while time.monotonic() < deadline:
        state = repository.expect("GET", "/branches/main/import", query={"id": began["id"]})
        if state.get("error"):
            raise RuntimeError(f"lakeFS imports nothing: {state['error']}")
        if state["completed"]:
            return str(state["commit"]["id"])
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"lakeFS has imported {files} not within {IMPORT_SECONDS:g} s")


def _states(repository: LakeFSRepository, size: Size) -> Iterator[Commit]:
    """The states, as commits of a branch of their own. Each changes some files of the one before."""
    folders = max(size.files // WIDTH, 1)
    branch = repository.branch("states", "main", hidden=True)
    for number in range(min(STATES, size.commits)):
        for file in range(CHANGED):
            path = f"{folder_name(number % folders)}/{file_name(number * CHANGED % WIDTH + file)}"
            repository.put(branch, path, f"x,y\n1,{number}\n".encode())
        yield Commit.of(repository.commit(branch))
