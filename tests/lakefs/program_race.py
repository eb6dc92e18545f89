"""A writer of a race that publishes with LakeFSStore.

usage: program_race.py REPOSITORY DIRECTORY NUMBER
"""

import itertools
import sys
from pathlib import Path

from race_writer import Lost, serve, server

from perago.errors import HeadMovedError
from perago.stores.lakefs import LakeFSStore
from perago.testing.contract.bench import engine_task, make_stamp
from perago.values.history import Publish
from perago.values.models import AttemptIdentity, Changes, TaskExecution, WorkspaceInput
from perago.values.spec import WorkspaceSpec

EVERYTHING = WorkspaceSpec()


class StoreWriter:
    """Whole attempts from the newest head, each of a task of its own: lay out, change, stage, publish, clean up."""

    def __init__(self, store: LakeFSStore, repository: str, directory: Path, number: int) -> None:
        self._store = store
        self._repository = repository
        self._directory = directory
        self._number = number
        self._turns = itertools.count()

    def stage(self, head: str, turn: int) -> str:
        directory = self._directory / str(next(self._turns))
        directory.mkdir(parents=True)
        self._input = WorkspaceInput(repository=self._repository, branch="main", refType="commit", ref=head)
        self._store.download_workspace(self._input, EVERYTHING, directory)
        name = f"writer-{self._number}"
        is_new = not (directory / name).exists()
        (directory / name).write_text(f"{turn}")
        self._execution = self._execute(head, turn, Changes(**{"added" if is_new else "modified": (name,)}))
        self._staged = self._store.stage_workspace(directory, self._input, EVERYTHING, self._execution)
        return self._staged.commit

    def publish(self) -> str:
        try:
            return self._store.publish_workspace(self._staged, self._input, EVERYTHING, self._execution)
        except HeadMovedError as exc:
            raise Lost from exc
        finally:
            self._store.cleanup_staging(self._staged)

    def _execute(self, head: str, turn: int, changes: Changes) -> TaskExecution:
        number = self._number * 1_000_000 + turn
        attempt = engine_task(task_id=f"task-{number}", workflow_instance_id=f"wf-{number}")
        stamp = make_stamp(head, number)
        return TaskExecution(
            attempt=attempt,
            identity=AttemptIdentity.of(attempt),
            execution_id=stamp.execution_id,
            stamp=stamp,
            changes=changes,
            plan=Publish(head),
        )


def main() -> None:
    repository, directory, number = sys.argv[1:]
    keys = server()
    url = keys.pop("url")
    with LakeFSStore(endpoint_url=url, **keys) as store:
        serve(StoreWriter(store, repository, Path(directory), int(number)))


main()
