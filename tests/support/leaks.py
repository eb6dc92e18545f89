"""Looks for secrets wherever a run has written something."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil


def secrets_in_files(directory: Path, secrets: Sequence[str], but: Collection[Path] = ()) -> Iterator[str]:
    """Logs, statuses, results that waited, what attempts left: every file below."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and path not in but and any(secret.encode() in path.read_bytes() for secret in secrets):
            yield f"a secret is in {path}"


def secrets_on_command_lines(processes: Iterable[psutil.Process], secrets: Sequence[str]) -> Iterator[str]:
    """Of those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            told = " ".join(process.cmdline())
            if any(secret in told for secret in secrets):
                yield f"a secret is on a command line: {told}"


def secrets_in_values(what: str, values: Sequence[Any], secrets: Sequence[str]) -> Iterator[str]:
    """Commits, results, reasons: whatever is JSON."""
    for value in values:
        text = json.dumps(value, ensure_ascii=False)
        if any(secret in text for secret in secrets):
            yield f"a secret is in {what}: {text[:2000]}"


def told_by(workflows: Sequence[Any]) -> list[Any]:
    """What workers told of the tasks: results and reasons, not the input that somebody else gave."""
    names = ("outputData", "reasonForIncompletion", "workerId")
    return [{name: task.get(name) for name in names} for workflow in workflows for task in workflow["tasks"]]
