"""What lies on a branch since an attempt's input, and what may be done about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from perago.values.json_text import JsonObject

# ---------------------------------------------------------------- stamps and commits


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """The metadata on a published commit: who made it, from what, with what result. `stamps` writes and reads it.

    Attributes:
        task: name of the task definition.
        workflow_instance_id, reference_task_name: the logical task.
        task_id, retry_count, scheduled_time, poll_count: the execution, as the engine names it.
        execution_id: the execution, as we name it; unique for each run.
        input_ref: full id of the commit that the attempt worked on.
        branch: that the publication moved; on another branch the stamp does not count. Empty: not said.
        expected_head: full id of the head that the publication moved; empty until a store puts the commit on a head.
            A stamp counts only where this is the commit's first parent.
        params_digest, code_digest, result_digest: `sha256:<hex>`.
        params, result: the JSON objects, secret fields masked; None where larger than 16 KiB in UTF-8.
        result_exact: the stored result is the reported one (nothing was masked or left out), so that it can be adopted.
        abandoned: ids of commits between input and head whose content this publication replaces.
        completes: a seal: the id of the commit that its attempt completes with; None on a publication.
        started_at: RFC 3339, UTC; duration_ms: from start to the stamp.
        worker: who ran it.
        traceparent: W3C trace context of the attempt, if there was one.
    """

    task: str
    workflow_instance_id: str
    reference_task_name: str
    task_id: str
    retry_count: int
    scheduled_time: int | None
    poll_count: int | None
    execution_id: str
    input_ref: str
    branch: str = ""
    expected_head: str = ""
    params_digest: str
    code_digest: str
    result_digest: str
    params: JsonObject | None = None
    result: JsonObject | None = None
    result_exact: bool = False
    abandoned: tuple[str, ...] = ()
    completes: str | None = None
    started_at: str = ""
    duration_ms: int = 0
    worker: str = ""
    traceparent: str | None = None

    @property
    def logical_task(self) -> tuple[str, str]:
        return (self.workflow_instance_id, self.reference_task_name)

    def on(self, head: str, abandoned: tuple[str, ...] = ()) -> Stamp:
        """The same stamp for a commit whose first parent is `head`."""
        return replace(self, expected_head=head, abandoned=abandoned)

    def is_for(self, branch: str) -> bool:
        """Whether it may count on a branch: a copy of the commit on another one is a person's."""
        return self.branch in ("", branch)


@dataclass(frozen=True)
class CommitFacts:
    """One commit between the input and the head, on the first-parent line.

    Attributes:
        id: full commit id.
        parent: id of the first parent.
        stamp: what the commit says of itself; None where it has no readable stamp.
        empty: its content equals its first parent's.
        author, subject: for messages to people.
    """

    id: str
    parent: str
    stamp: Stamp | None = None
    empty: bool = False
    author: str = ""
    subject: str = ""

    @property
    def counting_stamp(self) -> Stamp | None:
        """The stamp if it counts: a cherry-picked or copied one names another parent, and is a person's commit."""
        if self.stamp is not None and self.stamp.expected_head == self.parent:
            return self.stamp
        return None

    @property
    def is_seal(self) -> bool:
        """Ours, and without content of its own: the publish fence passes over it."""
        stamp = self.counting_stamp
        return stamp is not None and stamp.completes is not None and self.empty


@dataclass(frozen=True)
class History:
    """What lies between an input ref and the head of its branch.

    Attributes:
        head: full id of the commit that the branch points at.
        base: full id of the input ref.
        commits: first-parent line from the head (first) down to the base (left out).
    """

    head: str
    base: str
    commits: tuple[CommitFacts, ...] = ()

    @property
    def between(self) -> tuple[CommitFacts, ...]:
        """Oldest first, seals passed over: what the publish fence judges."""
        return tuple(commit for commit in reversed(self.commits) if not commit.is_seal)

    def on_branch(self, branch: str) -> History:
        """The same history as `branch`'s: a stamp that was made for another branch is a copy, and says nothing."""
        commits = (
            commit if commit.stamp is None or commit.stamp.is_for(branch) else replace(commit, stamp=None)
            for commit in self.commits
        )
        return replace(self, commits=tuple(commits))


# ---------------------------------------------------------------- plans: what the publish fence decides


@dataclass(frozen=True)
class Publish:
    """Stage the input's content plus the changes on top of `head`; commits in `abandoned` stay in the history only."""

    head: str
    abandoned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merge:
    """`snapshot` isolation: stage the input's content, plus what the `foreign` commits (oldest first) brought
    (`plans.foreign_changes`), plus the changes, on top of `head`; what `abandoned` commits changed is left out.

    Attributes:
        replaced: each commit that says it replaced some of `abandoned`, with those. It may have written a path as one
            of them had, which no difference to its first parent shows.
        line: all of `foreign` and `abandoned`, oldest first; may be left out if `replaced` is empty.
        unsettled: some of `foreign` may be abandoned later: a conflict is not final.

    Raises:
        ValueError: a line that is needed is not all of them.
    """

    head: str
    foreign: tuple[str, ...]
    abandoned: tuple[str, ...] = ()
    replaced: tuple[tuple[str, tuple[str, ...]], ...] = ()
    line: tuple[str, ...] = ()
    unsettled: bool = False

    def __post_init__(self) -> None:
        if self.replaced and {*self.line} != {*self.foreign, *self.abandoned}:
            raise ValueError("a merge with commits that replaced others needs the line of all of them, oldest first")


@dataclass(frozen=True)
class Seal:
    """Stage an empty commit on top of `head` that says "completed with `completes`", and complete with that commit.

    `source` is the stamp whose result the attempt completes with: the adopted one, or the attempt's own for a no-op.
    """

    head: str
    completes: str
    source: Stamp | None = None


@dataclass(frozen=True)
class Complete:
    """Complete with `ref` and write nothing. `result` is another try's; None: this attempt's own."""

    ref: str
    result: JsonObject | None = None


@dataclass(frozen=True)
class Refuse:
    """The target may not move: `foreign` commits (oldest first) lie between the input and the head.

    Attributes:
        unsettled: all of them may be abandoned later: the refusal is not final.
    """

    head: str
    foreign: tuple[CommitFacts, ...]
    unsettled: bool = False


Plan = Publish | Merge | Seal | Complete | Refuse
WritePlan = Publish | Merge | Seal
