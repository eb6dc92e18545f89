"""`perago check --twice`: run the body twice on its input and show what differs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from perago.attempt.body import BodyCall, InvokeBody
from perago.attempt.run import Work
from perago.cli.arguments import RunArguments
from perago.cli.failure import DONE, TASK_FAILED
from perago.cli.output import MAX_LISTED, note, print_json, say
from perago.cli.run.rehearsal import expect_workspace, rehearsed_run, tell_failure
from perago.errors import required
from perago.running.request import RunRequest
from perago.running.sameness import MAX_LOOKED_INTO, Difference, Made, OneRun, differences
from perago.running.text import printable
from perago.values.json_text import JsonObject
from perago.workspace.patterns import Selection
from perago.workspace.scan import FileStat, scan_files


class _Looking:
    """Runs a body and looks at the files that it has made or changed."""

    def __init__(self, invoke_body: InvokeBody) -> None:
        self._made: dict[str, Made] = {}
        self._invoke_body = invoke_body
        self._room = MAX_LOOKED_INTO

    def __call__(self, call: BodyCall, /) -> JsonObject:
        workspace = required(call.workspace, "only a task with a workspace is rehearsed")
        before = scan_files(workspace, Selection())
        result = self._invoke_body(call)
        for path, stat in scan_files(workspace, Selection()).items():
            if before.get(path) != stat:
                self._made[path] = self._look_at(workspace / path, stat)
        return result

    def run(self, work: Work) -> OneRun:
        """What the body has done, without what an attempt would not publish."""
        made = {path: self._made[path] for path in work.changes.written if path in self._made}
        return OneRun(work.result, made, work.changes.deleted)

    def _look_at(self, path: Path, stat: FileStat) -> Made:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        content = path.read_bytes() if stat.size <= self._room else None
        self._room -= 0 if content is None else len(content)
        return Made(f"{digest} {stat.executable}", content)


def rehearse_twice(job: RunRequest, arguments: RunArguments) -> int:
    """Run a job's body twice and show what differs; returns the exit code."""
    expect_workspace(job, "--twice")
    looks: list[_Looking] = []
    runs: list[OneRun] = []

    def look(invoke_body: InvokeBody) -> InvokeBody:
        looks.append(_Looking(invoke_body))
        return looks[-1]

    for _ in range(2):
        rehearsed = rehearsed_run(job, arguments, look)
        if isinstance(rehearsed.outcome, BaseException):
            return tell_failure(rehearsed.outcome, rehearsed, job, arguments)
        runs.append(looks[-1].run(rehearsed.outcome))
    found = differences(*runs)
    if arguments.as_json:
        rows = [{"what": one.what, "how": one.how, "hint": one.hint or None} for one in found]
        print_json({"same": not found, "differences": rows})
    else:
        for one in found[:MAX_LISTED]:
            say(_line(one))
    if not found:
        note(f"Both runs of task {job.task.name} made the same files and the same result. Nothing was published.")
        return DONE
    more = len(found) - MAX_LISTED
    listed = f" (and {more} more; --json lists them all)" if more > 0 else ""
    note(f"Two runs of task {job.task.name} on the same input differ{listed}. Nothing was published.")
    return TASK_FAILED


def _line(one: Difference) -> str:
    return f"  {printable(one.what)}  {one.how}{f': {one.hint}' if one.hint else ''}"
