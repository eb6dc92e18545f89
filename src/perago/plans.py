"""The publish fence without an engine, and how a refusal reads. Shared by the core and by every store."""

from __future__ import annotations

from perago.errors import PublishFenceError
from perago.models import CommitFacts, History, Publish, Refuse

MAX_HISTORY = 10_000
"""Commits that are scanned between a head and an input ref; a task whose input is older is refused (design, step 1)."""

_NAMED_IN_A_REFUSAL = 3


def plan_without_engine(history: History) -> Publish | Refuse:
    """Decide for a store that was given no plan: no engine tells of any stamp, so every commit between is foreign.

    Seals are passed over: they are ours, and have no content of their own.
    """
    foreign = history.between
    return Refuse(history.head, foreign) if foreign else Publish(history.head)


def refusal(refuse: Refuse, branch: str, base: str) -> PublishFenceError:
    """The error that a `Refuse` ends in; it names the newest foreign commits and what to do."""
    newest = [_describe(commit) for commit in refuse.foreign[-_NAMED_IN_A_REFUSAL:]]
    more = len(refuse.foreign) - len(newest)
    listed = "; ".join(newest) + (f"; and {more} more" if more else "")
    return PublishFenceError(
        f"branch {branch!r} has moved from input {base[:12]} to {refuse.head[:12]} by commits that are not this "
        f"attempt's to replace: {listed}. Nothing was published and nothing is lost. Run the task again from the "
        f"present head, or declare isolation='snapshot' if changes to other paths may be merged with"
    )


def input_not_on_branch(branch: str, base: str, head: str) -> PublishFenceError:
    """The error for an input ref that the branch's first-parent line does not reach."""
    return PublishFenceError(
        f"input {base[:12]} is not among the last {MAX_HISTORY} first-parent commits of branch {branch!r} (head "
        f"{head[:12]}). Nothing was published. Give a commit of this branch as input ref; if the branch was reset, "
        f"start again from its head"
    )


def _describe(commit: CommitFacts) -> str:
    stamp = commit.counting_stamp
    if stamp is not None:
        return f"{commit.id[:12]} published by task {stamp.task!r} (workflow {stamp.workflow_instance_id})"
    made_by = f" by {commit.author}" if commit.author else ""
    return f"{commit.id[:12]}{made_by}" + (f" ({commit.subject})" if commit.subject else "")
