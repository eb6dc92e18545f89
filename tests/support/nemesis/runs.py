"""Invariant 10: the target of a transactional run shows all of it or nothing, at every moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from perago.workflows.graph import END_TASK

PARTS = {f"part_{number}": f"part-{number}.txt" for number in range(1, 4)}
"""Tasks of a run, one after the other, and the file to which each adds its workflow's id."""

SCOPE = "part-*.txt"
"""What each of them sees."""

END = END_TASK.replace(".", "_")
"""Reference name of the task that publishes a run."""


def halves(files: Mapping[str, bytes]) -> list[str]:
    """Workflows of which a commit shows some parts, and others not, or not as often."""
    lines = [Counter(files.get(path, b"").decode().splitlines()) for path in PARTS.values()]
    workflows = {workflow for counts in lines for workflow in counts}
    return sorted(workflow for workflow in workflows if len({counts[workflow] for counts in lines}) > 1)
