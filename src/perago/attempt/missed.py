"""Why no earlier result stands for the one that is asked for: for the log of an attempt, and for `perago why`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perago.attempt.differences import (
    OTHER_FILES,
    Difference,
    KeyFacts,
    facts_of,
    have_other_files,
    in_words,
    nearest,
    of_files,
)
from perago.attempt.reuse import Miss
from perago.errors import StoreError, required
from perago.ports import EarlierResult, EarlierResults, ListedFile
from perago.tasks.declare import TaskDefinition

NO_EARLIER_RESULT = "the history has no earlier result of this task to compare with"

_SHORT_COMMIT = 12

ListInput = Callable[[str], Mapping[str, ListedFile]]
"""Full id of a commit -> what the body would find in it, by path."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Why there is none.

    Attributes:
        why: in words; empty if `differences` says it all.
        since: full id of the nearest earlier publication, which `differences` compares with; None if there is none.
    """

    why: str = ""
    since: str | None = None
    differences: Sequence[Difference] = ()

    @property
    def line(self) -> str:
        """In one line, many differences shortened."""
        return self.why or f"changed since {(self.since or '')[:_SHORT_COMMIT]}: {in_words(self.differences)}"

    @property
    def is_first(self) -> bool:
        """Whether the history has no result of the task at all."""
        return self.why == NO_EARLIER_RESULT


def nothing_with_key(
    results: EarlierResults,
    repository: str,
    task: TaskDefinition,
    now: KeyFacts,
    inputs: Mapping[str, ListedFile],
    list_input: ListInput,
) -> Missed:
    """In what a key that no result has differs from the nearest one of before.

    Args:
        now: of the key of the task.
        inputs: what the body finds, by path.
        list_input: is asked for the input of that nearest one, if the files differ.

    Raises:
        WorkspaceStorageError: the index cannot be read.
    """
    found = nearest(results.of_task(repository, task.name), now)
    if found is None:
        return Missed(why=NO_EARLIER_RESULT)
    entry, others = found
    stamp, before = required(entry.stamp, "what is compared has a key"), facts_of(entry)
    fields = () if task.workspace is None else task.workspace.fields
    is_elsewhere = any(each.part == "param" and each.name in fields for each in others)
    if is_elsewhere:  # its patterns, and so its files, are those of another value
        others = [each for each in others if each.part != "declaration"]
    differs = not is_elsewhere and have_other_files(required(before, "what is compared has a key"), now)
    differences = [*(_of_files(stamp.input_ref, inputs, list_input) if differs else ()), *others]
    if differs and not differences:
        differences = [OTHER_FILES]
    why = "" if differences else _why_not_used(entry.id, results.standing(repository, entry.id))
    return Missed(why=why, since=entry.id, differences=differences)


def _why_not_used(commit: str, standing: str | None) -> str:
    text = f"the result of commit {commit[:_SHORT_COMMIT]} is not used"
    return text if standing is None else f"{text}: it is {standing}"


def _of_files(input_ref: str, inputs: Mapping[str, ListedFile], list_input: ListInput) -> list[Difference]:
    """Which input files differ; that some do, if the commit that was the input cannot be read any more."""
    try:
        return of_files(list_input(input_ref), inputs)
    except StoreError:
        return [OTHER_FILES]


def gone_miss(found: EarlierResult, error: Exception) -> Miss:
    """A result with the key whose outputs no longer exist, or cannot be read."""
    return Miss(f"the files of commit {found.commit[:_SHORT_COMMIT]} cannot be taken: {error}")
