"""Resolves a join to the one commit that an attempt starts from."""

from __future__ import annotations

from collections.abc import Mapping

from perago.errors import TaskInputError
from perago.ports import ReadHistory
from perago.values.joins import WorkspaceJoin, joined
from perago.values.json_text import JsonObject
from perago.values.models import WorkspaceInput


def resolve_join(given: WorkspaceInput | WorkspaceJoin, read_history: ReadHistory) -> WorkspaceInput:
    """The newest of the joined commits, which holds all others because they are on one line.

    It is the same for every try, whatever has been committed since. The history is read once if the first of the
    commits is the oldest, and else again for each that is older than all before it.

    Raises:
        TaskInputError: there is no history to resolve a join with.
        PublishFenceError: a commit is not on the branch; and other errors of `read_history`.
    """
    if isinstance(given, WorkspaceInput):
        return given
    if len(given.inputs) == 1:
        return given.inputs[0]
    inputs = {one.ref: one for one in given.inputs}
    line: tuple[str, ...] = ()
    for ref, one in inputs.items():
        if ref not in line:
            history = read_history(one)
            if not history.is_known:
                raise TaskInputError(
                    "the workspace is a join, which needs the branch's history; pass the store's read_history"
                )
            line = (*(commit.id for commit in history.commits), history.base)
    return inputs[next(ref for ref in line if ref in inputs)]


def output_commit(output: JsonObject, read_history: ReadHistory) -> str | None:
    """The commit that a task or workflow has completed with, of a join the newest; None without a workspace.

    Raises:
        StoreError, PublishFenceError: a join's history could not be read.
    """
    found = [one for _, one in joined(output.get("workspace")) if isinstance(one, Mapping)]
    inputs = {str(one["ref"]): WorkspaceInput.model_validate(one) for one in found}
    return resolve_join(WorkspaceJoin(tuple(inputs.values())), read_history).ref if inputs else None
