"""One of several hosts of transactional runs: each run begins at main's head, and two tasks and its end publish.

usage: program_runs.py REPOSITORY DIRECTORY NUMBER ROUNDS
Prints "begun BASE" for a run that all programs begin, then "ended COMMIT" lines.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from git_support import EVERYTHING, make_execution, run_branch
from perago.errors import HeadMovedError
from perago.stores.git import GitStore
from perago.values.history import Merge, Publish
from perago.values.models import Changes, WorkspaceInput


def input_of(branch: str, ref: str) -> WorkspaceInput:
    return WorkspaceInput(repository="data", branch=branch, refType="commit", ref=ref)


def publish_task(store: GitStore, directory: Path, branch: str, head: str, path: str) -> str:
    """One task of a run: adds a file."""
    (directory / path).parent.mkdir(parents=True, exist_ok=True)
    (directory / path).write_text(path)
    target = input_of(branch, head)
    execution = make_execution(head, changes=Changes(added=(path,)), plan=Publish(head), branch=branch)
    staged = store.stage_workspace(directory, target, EVERYTHING, execution)
    ref = store.publish_workspace(staged, target, EVERYTHING, execution)
    store.cleanup_staging(staged)
    return ref


def end(store: GitStore, base: str, ref: str) -> str:
    """Publish a run, merged with what others have published since it began."""
    target = input_of("main", base)
    while True:
        history = store.read_history(target)
        between = tuple(commit.id for commit in history.between)
        plan = Merge(history.head, between) if between else Publish(history.head)
        execution = make_execution(base, changes=store.changes_of_run(target, ref), plan=plan)
        staged = store.stage_run(target, ref, execution)
        try:
            return store.publish_workspace(staged, target, EVERYTHING, execution)
        except HeadMovedError:
            continue
        finally:
            store.cleanup_staging(staged)


def main() -> None:
    repository, directory, number, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    store = GitStore(repository)
    sys.stdin.readline()  # all begin at once
    shared = run_branch("shared", datetime.fromtimestamp(0, UTC))
    print("begun", store.create_run_branch("data", shared, f"start-{number}"), flush=True)
    for turn in range(rounds):
        name = f"{number}-{turn}"
        branch = run_branch(name)
        base = ref = store.create_run_branch("data", branch, "main")
        for task in ("first", "second"):
            ref = publish_task(store, directory, branch, ref, f"run-{name}/{task}")
        print("ended", end(store, base, ref), flush=True)


main()
