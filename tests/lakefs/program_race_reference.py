"""A writer of a race that publishes with the reference, perago 0.6.1 from PyPI, in an environment of its own.

usage: program_race_reference.py REPOSITORY DIRECTORY NUMBER
It is run by race.py: --program "ENVIRONMENT/bin/python tests/lakefs/program_race_reference.py".
"""

import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

from perago.lakefs_runtime import LakeFSWorkspaceRuntime
from race_writer import Lost, serve, server

from perago import LakeFSConfig, PublishFenceError, WorkspaceInput, WorkspaceSpec


class ReferenceWriter:
    """Attempts from the newest head, as its users run them: lay out, change, stage, publish, clean up."""

    def __init__(self, runtime, repository, directory, number):
        self._runtime = runtime
        self._repository = repository
        self._directory = directory
        self._number = number
        self._spec = WorkspaceSpec()

    def stage(self, head, turn):
        directory = self._directory / str(turn)
        directory.mkdir()
        self._input = WorkspaceInput(repository=self._repository, branch="main", refType="commit", ref=head)
        self._runtime.download_workspace(self._input, self._spec, directory)
        (directory / f"writer-{self._number}").write_text(str(turn))
        name = uuid.uuid4().hex
        self._attempt = SimpleNamespace(
            task_id=name,
            workflow_instance_id=name,
            reference_task_name="race",
            seq=1,
            iteration=0,
            retry_count=0,
            execution_id=name,
        )
        self._staged = self._runtime.stage_workspace(directory, self._input, self._spec, self._attempt)
        return self._staged.commit

    def publish(self):
        try:
            return self._runtime.publish_workspace(self._staged, self._input, self._spec, self._attempt)
        except PublishFenceError as exc:
            raise Lost from exc
        finally:
            self._runtime.cleanup_staging(self._staged)


def main():
    repository, directory, number = sys.argv[1:]
    keys = server()
    config = LakeFSConfig(endpoint_url=keys.pop("url"), **keys)
    serve(ReferenceWriter(LakeFSWorkspaceRuntime.from_config(config), repository, Path(directory), int(number)))


main()
