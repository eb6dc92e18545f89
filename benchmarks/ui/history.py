"""A git repository with a long history and the records of its runs, as Perago would have left them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pygit2

from perago.engines.local.record import RunRecord, TryEntry
from perago.engines.local.record_json import to_json
from perago.stores.git.history import compose
from perago.values.history import Stamp
from perago.values.record import TryStatus

BEGIN = 1_790_000_000
"""Seconds since the epoch of the first commit."""

STEP_SECONDS = 60
CHANGED = 10
"""Files that a commit changes."""

WIDTH = 100
"""Files of a directory."""

TASKS = ("clean", "split", "train", "score", "report")
SERIES_POINTS = 50
CONTENT = b"x,y\n1,2\n"
"""Of each file of the first commit."""


@dataclass(frozen=True)
class Size:
    """What is made."""

    commits: int = 10_000
    files: int = 100_000
    runs: int = 5_000


def make_history(path: Path, size: Size) -> list[str]:
    """Make a bare repository with a branch `main`; returns the ids of the commits, the oldest first.

    The first commit is a person's, with all files. Each other is the publication of a task that could read them all.
    """
    repository = pygit2.init_repository(path, bare=True, initial_head="main")
    blob = repository.create_blob(CONTENT)
    builder = repository.TreeBuilder()
    for number in range(WIDTH):
        builder.insert(file_name(number), blob, pygit2.enums.FileMode.BLOB)
    folder, root = builder.write(), repository.TreeBuilder()
    folders = max(size.files // WIDTH, 1)
    for number in range(folders):
        root.insert(folder_name(number), folder, pygit2.enums.FileMode.TREE)
    tree = root.write()
    commits = [_commit(repository, "Imported everything\n", tree, [], 0)]
    for number in range(1, size.commits):
        builder = repository.TreeBuilder(folder)
        content = repository.create_blob(f"x,y\n1,{number}\n".encode())
        for file in range(CHANGED):
            builder.insert(file_name((number * CHANGED + file) % WIDTH), content, pygit2.enums.FileMode.BLOB)
        root.insert(folder_name(number % folders), builder.write(), pygit2.enums.FileMode.TREE)
        tree, before = root.write(), commits[-1]
        stamp = stamp_of(number, before, size)
        message = compose(stamp, f"{stamp.task}: ~{CHANGED} files", str(tree))
        commits.append(_commit(repository, message, tree, [pygit2.Oid(hex=before)], number))
    return commits


def make_runs(directory: Path, size: Size, commits: list[str]) -> list[str]:
    """Make the records of the runs that the commits name; returns their ids, the oldest first.

    Args:
        directory: of the runs of the repository.
    """
    directory.mkdir(mode=0o700, parents=True)
    made = list[str]()
    for number in range(1, size.commits):
        run_id = _run_id(number, size)
        if made and made[-1] == run_id:
            continue
        workspace = {"repository": "data", "branch": "main", "refType": "commit"}
        entry = TryEntry(
            task_id=f"{run_id}-1",
            retry_count=0,
            scheduled_time=(BEGIN + number * STEP_SECONDS) * 1000,
            ended_time=(BEGIN + number * STEP_SECONDS) * 1000 + 1_500,
            duration_ms=1_500,
            host="host",
            pid=1,
            status=TryStatus.COMPLETED,
            output={"workspace": {**workspace, "ref": commits[number]}, "result": _result(number)},
        )
        record = RunRecord(
            run_id=run_id,
            target="pipeline:train",
            task_name=_task(number),
            input_data={"workspace": {**workspace, "ref": commits[number - 1]}, "params": _params(number)},
            params_exact=True,
            tries=(entry,),
        )
        (directory / run_id).mkdir(mode=0o700)
        (directory / run_id / "run.json").write_text(to_json(record))
        (directory / run_id / "lock").touch(mode=0o600)
        made.append(run_id)
    return made


def file_name(number: int) -> str:
    return f"file-{number:03}.csv"


def folder_name(number: int) -> str:
    return f"folder-{number:05}"


def _task(number: int) -> str:
    return TASKS[number % len(TASKS)]


def _params(number: int) -> dict[str, object]:
    return {"alpha": number % 100 / 100, "depth": number % 7, "name": f"trial {number}"}


def _result(number: int) -> dict[str, object]:
    return {"score": 1 - 1 / (1 + number), "rows": number, "note": "as usual"}


def _run_id(number: int, size: Size) -> str:
    each = max(size.commits // max(size.runs, 1), 1)
    return f"20260921-{number // each // 10:06}-run{number // each:06}"


def stamp_of(number: int, before: str, size: Size) -> Stamp:
    run_id = _run_id(number, size)
    series = {"loss": [[step, 1 / (1 + step + number % 10)] for step in range(SERIES_POINTS)]}
    digest = "sha256:" + "0" * 64
    return Stamp(
        task=_task(number),
        workflow_instance_id=run_id,
        reference_task_name=_task(number),
        task_id=f"{run_id}-1",
        retry_count=0,
        scheduled_time=(BEGIN + number * STEP_SECONDS) * 1000,
        poll_count=1,
        execution_id=f"{number:032}",
        input_ref=before,
        branch="main",
        expected_head=before,
        params_digest=digest,
        code_digest=digest,
        result_digest=digest,
        params=json.loads(json.dumps(_params(number))),
        result=json.loads(json.dumps(_result(number))),
        result_exact=True,
        started_at="2026-09-21T12:00:00Z",
        duration_ms=1_500,
        worker="host-1",
        series=series if _task(number) == "train" else None,
        selection={},
    )


def _commit(
    repository: pygit2.Repository, message: str, tree: pygit2.Oid, parents: list[pygit2.Oid], number: int
) -> str:
    who = pygit2.Signature("Ada", "ada@example.org", BEGIN + number * STEP_SECONDS)
    return str(repository.create_commit("refs/heads/main", who, who, message, tree, parents))
