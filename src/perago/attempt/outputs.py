"""The declared outputs of a task: what its body leaves there is the output, and it changes nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perago.errors import WorkspaceContentError
from perago.files.storage import storage_errors
from perago.values.models import Changes
from perago.values.names import show_name
from perago.workspace.patterns import Selection, fixed_directory
from perago.workspace.scan import Scan, listed


def make_output_directories(workspace: Path, outputs: Sequence[str]) -> None:
    """Make the directories that hold all of an output, so that a body need not.

    Raises:
        WorkspaceStorageError: the disk refused.
        WorkspaceContentError: a file is in the way.
    """
    for pattern in outputs:
        directory = fixed_directory(pattern)
        with storage_errors("cannot make a directory in", workspace):
            try:
                Path(workspace, directory).mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise WorkspaceContentError(
                    f"the output {pattern!r} cannot be made: {show_name(directory)}, or a part of it, is a file of the "
                    f"input. Give the output another directory"
                ) from None


def expect_in_outputs(changes: Changes, now: Scan, outputs: Sequence[str]) -> None:
    """Check that only outputs have changed.

    Args:
        now: the workspace after the body. What no pattern of the task's includes is a change, too.

    Raises:
        WorkspaceContentError: names the other changes.
    """
    selected = Selection(outputs)
    kinds = {"added": (*changes.added, *now.left_out), "modified": changes.modified, "deleted": changes.deleted}
    strays = [
        f"{show_name(path)} ({kind})" for kind, paths in kinds.items() for path in paths if not selected.selects(path)
    ]
    total = len(strays) + now.left_out_count - len(now.left_out)
    if not strays and not now.left_out_more:
        return
    shown = listed(strays, total) if strays else "too many directories to examine"
    raise WorkspaceContentError(
        f"the body changed files outside of its outputs {list(outputs)}: {shown}. In the task, write below the "
        f"outputs, or add to outputs= what it makes; put temporary files where tempfile does"
    )
