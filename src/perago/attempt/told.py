"""What the events of an attempt tell of its data, besides counts: as JSON, within bounds."""

from __future__ import annotations

from collections.abc import Sequence

from perago.attempt.stamp import selection_of
from perago.tasks.guards import describe_guard
from perago.values.json_text import JsonObject
from perago.values.models import Changes, WorkspaceInput
from perago.values.spec import Guard, Guardrail, WorkspaceSpec

MAX_DIRECTORIES = 100
"""Directories of changed files that an event names."""


def what_it_reads(workspace_input: WorkspaceInput, spec: WorkspaceSpec) -> JsonObject:
    """The commit that an attempt reads, the prefix and the patterns of its workspace, and its guards.

    Args:
        spec: with the params' values in its patterns.
    """
    return {
        "repository": workspace_input.repository,
        "branch": workspace_input.branch,
        "ref": workspace_input.ref,
        "selection": selection_of(spec),
        "guards": {"pre": _described(spec.pre), "post": _described(spec.post)},
        "read_only": spec.read_only,
    }


def _described(guards: Sequence[Guardrail | Guard]) -> list[JsonObject]:
    return [
        {"name": describe_guard(guard), "kind": guard.kind if isinstance(guard, Guardrail) else "function"}
        for guard in guards
    ]


def what_changed(changes: Changes) -> JsonObject:
    """The numbers of changed files, and their directories, "" for the workspace's own. Without these if there are more
    than `MAX_DIRECTORIES`.
    """
    found = sorted({path.rpartition("/")[0] for path in (*changes.written, *changes.deleted)})
    counts: JsonObject = {
        "added": len(changes.added),
        "modified": len(changes.modified),
        "deleted": len(changes.deleted),
    }
    return {**counts, "directories": found} if len(found) <= MAX_DIRECTORIES else counts
