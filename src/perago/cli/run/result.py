"""The result of a run: on stdout for programs, on stderr for people."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from perago.cli.arguments import RunArguments
from perago.cli.failure import (
    DONE,
    FENCE_REFUSED,
    INTERRUPTED,
    TASK_FAILED,
    exit_code_of,
)
from perago.cli.output import note, print_json, result_on_stdout, say
from perago.engines.local import LocalRun, WorkflowRun
from perago.errors import StoreError, required
from perago.running.repos.address import branching_command
from perago.running.request import RunRequest, about_file, resume_command, resume_options
from perago.running.text import reason_within
from perago.running.watch import RunObserver, beside_note
from perago.stores.provider import RepositoryAddress
from perago.values.models import RuntimeTaskResult


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The last try of a run.

    Attributes:
        how: published, replaced, merged, adopted, cached, unchanged, read-only, or free; None if it did not complete.
        cached_from: id of the commit whose result was taken; None if the body ran.
        repository: the run's repository; None for a free task without one.
        replaced: ids of the commits whose content the publication replaces.
        beside: as in `RunObserver`.
        resume_options: see the function of that name.
    """

    result: RuntimeTaskResult
    run: LocalRun
    task_name: str
    tries: int
    exit_code: int
    how: str | None = None
    cached_from: str | None = None
    branch: str | None = None
    ref: str | None = None
    replaced: tuple[str, ...] = ()
    counts: dict[str, int]
    kept: str | None = None
    beside: tuple[str, ...] = ()
    repository: RepositoryAddress | None = None
    resume_options: tuple[str, ...] | None = ()

    @classmethod
    def of(
        cls, job: RunRequest, run: LocalRun, result: RuntimeTaskResult, watch: RunObserver, *, cancelled: bool
    ) -> RunResult:
        """The result of a run's last try."""
        output_workspace: dict[str, Any] = (result.output or {}).get("workspace", {})
        ref, branch = output_workspace.get("ref"), run.input_data.get("workspace", {}).get("branch")
        how = _how(job, run, ref, watch) if result.status == "COMPLETED" else None
        return cls(
            result=result,
            run=run,
            task_name=job.task.name,
            tries=run.attempt.retry_count + 1,
            exit_code=_exit_code(result, watch, cancelled=cancelled),
            how=how,
            cached_from=watch.cached_from if how == "cached" else None,
            branch=branch,
            ref=ref,
            replaced=_replaced(job, ref) if how == "replaced" and ref is not None else (),
            counts={name: watch.counts[name] for name in ("added", "modified", "deleted") if name in watch.counts},
            kept=watch.kept,
            beside=watch.beside,
            repository=job.repository,
            resume_options=resume_options(run, watch.error),
        )

    @property
    def run_id(self) -> str:
        return self.run.run_id

    def print(self, arguments: RunArguments) -> None:
        """Print it; with `--json` as one object."""
        with result_on_stdout():  # the run is recorded, whether its result can be printed or not
            if arguments.as_json:
                print_json(self.as_object())
            elif self.result.output is not None:
                print_json(self.result.output["result"])
        if self.exit_code == DONE:
            self._tell_success(arguments)
        else:
            self._tell_failure(arguments)

    def as_object(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "task": self.task_name,
            "status": "CANCELED" if self.exit_code == INTERRUPTED else self.result.status,
            "exit_code": self.exit_code,
            "tries": self.tries,
            "how": self.how,
            "cached_from": self.cached_from,
            "output": self.result.output,
            "reason": self.result.reason_for_incompletion,
            "changes": self.counts or None,
            "replaced": list(self.replaced),
            "kept": self.kept,
        }

    def _tell_success(self, arguments: RunArguments) -> None:
        note(self._success())
        if self.how == "unchanged" and self.beside:
            note(beside_note(self.beside))
        if self.how not in ("free", "read-only"):
            note("To show its history:")
            _next_step(f"perago log --repo {_quoted(arguments.repo)} --branch {_quoted(self.branch)}")

    def _success(self) -> str:
        match self.how:
            case "published":
                return f"Published commit {self.ref} on branch {self.branch}."
            case "merged":
                return f"Published commit {self.ref} on branch {self.branch}, merged with the commits of others there."
            case "replaced":
                return (
                    f"Published commit {self.ref} on branch {self.branch}. It replaces the commit of an earlier try "
                    f"that did not complete ({', '.join(self.replaced)}), which stays in the history."
                )
            case "adopted":
                return (
                    f"Adopted commit {self.ref}, which an earlier try published on branch {self.branch}. The task "
                    f"completed with that commit and its result."
                )
            case "cached" if self.ref == self.run.input_data["workspace"]["ref"]:
                return f"Nothing to do: commit {self.cached_from} has the result of a run with the same inputs."
            case "cached":
                return (
                    f"Published commit {self.ref} on branch {self.branch}, with the result and the outputs of commit "
                    f"{self.cached_from}. The body did not run."
                )
            case "unchanged":
                return f"Nothing changed: the task completed with its input, commit {self.ref}."
            case "read-only":
                return f"The task read commit {self.ref}."
            case _:
                return f"Task {self.task_name} is done, run {self.run_id}."

    def _tell_failure(self, arguments: RunArguments) -> None:
        word = "was cancelled" if self.exit_code == INTERRUPTED else "failed"
        reason = reason_within(self.task_name, self.result.reason_for_incompletion)
        note(f"error: task {self.task_name} {word}: {reason}")
        if self.kept is not None:
            note(f"Its workspace was kept: {self.kept}")
        if self.exit_code == FENCE_REFUSED and arguments.ref is not None and self.repository is not None:
            branching = branching_command(self.repository, "NEW", arguments.ref)
            note(
                f"--ref {_quoted(arguments.ref)} is not the head of branch {self.branch}. Leave --ref out, or create a "
                f"branch there with `{branching}` and name it with --branch"
            )
        tries = f" after {self.tries} tries" if self.tries > 1 else ""
        if self.resume_options == ():
            tell_next_try(f"Run {self.run_id} ended{tries}.", self.run, arguments)
            return
        note(f"Run {self.run_id} ended{tries}.")
        if self.resume_options is not None:
            note(f"To run the same task from the current head of branch {self.branch}:")
            tell_resume(self.run, arguments, *self.resume_options)


def tell_next_try(how: str, run: LocalRun, arguments: RunArguments) -> None:
    """Say how a run ended, and which command resumes it."""
    note(f"{how} To try again from the same input:")
    tell_resume(run, arguments)


def tell_resume(run: LocalRun | WorkflowRun, arguments: RunArguments, *options: str) -> None:
    """Say which command resumes a run, and what it needs."""
    _next_step(resume_command(run, arguments.repo, *options))
    about = about_file(run)
    if about is not None:
        note(f"{about}.")


def _exit_code(result: RuntimeTaskResult, watch: RunObserver, *, cancelled: bool) -> int:
    if result.status == "COMPLETED":
        return DONE
    if cancelled:
        return INTERRUPTED
    refused = watch.error is not None and exit_code_of(watch.error) == FENCE_REFUSED
    return FENCE_REFUSED if refused else TASK_FAILED


def _how(job: RunRequest, run: LocalRun, ref: str | None, watch: RunObserver) -> str | None:
    if job.task.workspace is None:
        return "free"
    if job.task.workspace.read_only:
        return "cached" if watch.how == "cached" else "read-only"
    is_unchanged = ref == run.input_data["workspace"]["ref"] and watch.how != "cached"
    return "unchanged" if is_unchanged else watch.how


def _replaced(job: RunRequest, ref: str) -> tuple[str, ...]:
    address = required(job.repository, "a task with a workspace has a repository")
    stamp = None
    # The run is completed and reported; this is only for the summary.
    with suppress(StoreError), address.open() as repository:
        stamp = next(repository.log(ref, 1)).stamp
    return () if stamp is None else stamp.abandoned


def _next_step(command: str) -> None:
    say(f"  {command}")


def _quoted(text: str | None) -> str:
    return shlex.quote(text or "")
