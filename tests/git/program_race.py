"""One of several writers of a branch: publishes `rounds` times, each time from the newest head, until it wins.

usage: program_race.py REPOSITORY DIRECTORY NUMBER ROUNDS
Prints "seen HEAD", "won COMMIT HEAD" and "lost HEAD" lines.
"""

import sys
from pathlib import Path

from git_support import EVERYTHING, make_execution
from perago.errors import HeadMovedError
from perago.stores.git import GitStore
from perago.values.history import Publish
from perago.values.models import Changes, WorkspaceInput


def publish_once(store: GitStore, directory: Path, name: str, number: int) -> bool:
    head = store.branch_head("main")
    assert head is not None
    print("seen", head)
    workspace_input = WorkspaceInput(repository="data", branch="main", refType="commit", ref=head)
    execution = make_execution(head, changes=Changes(added=(name,)), plan=Publish(head), number=number)
    staged = store.stage_workspace(directory, workspace_input, EVERYTHING, execution)
    try:
        print("won", store.publish_workspace(staged, workspace_input, EVERYTHING, execution), head)
    except HeadMovedError:
        print("lost", head)
        return False
    finally:
        store.cleanup_staging(staged)
    return True


def main() -> None:
    repository, directory, number, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    directory.mkdir()
    store = GitStore(repository)
    sys.stdin.readline()  # all begin at once
    for turn in range(rounds):
        name = f"writer-{number}/round-{turn}"
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(name)
        while not publish_once(store, directory, name, number * 100_000 + turn):
            pass


main()
