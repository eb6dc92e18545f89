"""The commits on a branch since an attempt's input, and the plans that can follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from perago.values.code import CodeVersion
from perago.values.json_text import JsonObject

# ---------------------------------------------------------------- stamps and commits

LogicalTask = tuple[str, str]
"""The instance of the outermost workflow, and the path of the task from there: `train/fit`. A sub-workflow that begins
anew keeps the names of its tasks."""


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """The metadata of a published commit: its author, its input and its result. `stamps` writes and reads it.

    Attributes:
        task: name of the task definition.
        workflow_instance_id, reference_task_name: the task, as its workflow instance names it.
        root_workflow_id, path: for a task of a sub-workflow with an instance of its own, the instance of the outermost
            workflow, and the path of the task from there, such as `train/fit`. None for others.
        task_id, retry_count, scheduled_time, poll_count: the execution, as the engine identifies it.
        execution_id: the execution, as Perago identifies it; unique for each attempt.
        input_ref: full id of the commit that the attempt started from.
        branch: the branch that the publication moved. On another branch the stamp does not count. Empty if unknown.
        expected_head: full id of the head that the publication moved; empty until a store puts the commit on a head.
            A stamp counts only if this is the commit's first parent.
        params_digest, code_digest, result_digest: `sha256:<hex>`.
        code_commit: id of the git commit that the code is of, if it is in a git work tree; code_dirty: whether the
            code differs from it. None if it is unknown.
        workflow_params: params of the outermost workflow, masked and limited as `params`; workflow_params_digest: of
            them. None if it has none, or the engine's record does not tell which of them are secrets.
        params, result: the JSON objects, secret fields masked; None if larger than 16 KiB in UTF-8.
        result_exact: the stored result equals the reported one (nothing masked or left out), so it can be adopted.
        abandoned: ids of commits between input and head whose content this publication replaces.
        completes: in a seal, the id of the commit that its attempt completes with; None in a publication.
        started_at: RFC 3339, UTC; duration_ms: from the start to the stamp. Of a transactional run: since it began.
        worker: the worker that ran the attempt.
        traceparent: W3C trace context of the attempt, if there is one.
        sandbox: the mode of its body's sandbox; None if it could reach whatever its user can.
        cache_key: digest of all that the result depends on (`values.cache.CacheKey`); None if the task has no cache, or
            that cannot be told. cache_parts: its parts; None if larger than 16 KiB.
        cache_proof: why the result depends on nothing else (`values.cache.Proof`); None if that is not known.
        cached_from: id of the commit whose result and outputs were taken; None if a body ran.
        distrusts, trusts: id of a commit whose result is not to be used again, or may be used again after all.
        series: the numbers that its body recorded, each series by its name as a list of `[step, value]`, at most 200.
        reverts: ids of the commits that this one undoes.
        selection: prefix and patterns of the workspace, with the params' values in them; what has its default is left
            out. None if larger than 16 KiB.
    """

    task: str
    workflow_instance_id: str
    reference_task_name: str
    root_workflow_id: str | None = None
    path: str | None = None
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
    code_commit: str | None = None
    code_dirty: bool | None = None
    params: JsonObject | None = None
    result: JsonObject | None = None
    result_exact: bool = False
    abandoned: tuple[str, ...] = ()
    completes: str | None = None
    started_at: str = ""
    duration_ms: int = 0
    worker: str = ""
    traceparent: str | None = None
    workflow_params: JsonObject | None = None
    workflow_params_digest: str | None = None
    sandbox: str | None = None
    cache_key: str | None = None
    cache_parts: JsonObject | None = None
    cache_proof: str | None = None
    cached_from: str | None = None
    distrusts: str | None = None
    trusts: str | None = None
    series: JsonObject | None = None
    reverts: tuple[str, ...] = ()
    selection: JsonObject | None = None

    @property
    def code_version(self) -> CodeVersion | None:
        return None if self.code_commit is None else CodeVersion(self.code_commit, bool(self.code_dirty))

    @property
    def is_by_command(self) -> bool:
        """Whether no task made the commit, but a person by `perago revert` or `perago distrust`. Such a commit has read
        nothing."""
        return bool(self.reverts or self.distrusts or self.trusts)

    @property
    def logical_task(self) -> LogicalTask:
        return (self.root_workflow_id or self.workflow_instance_id, self.path or self.reference_task_name)

    def in_tree(self, logical_task: LogicalTask) -> Stamp:
        """This stamp for a task that has this name in its tree."""
        if logical_task == self.logical_task:
            return self
        return replace(self, root_workflow_id=logical_task[0], path=logical_task[1])

    def on(self, head: str, abandoned: tuple[str, ...] = ()) -> Stamp:
        """This stamp for a commit whose first parent is `head`."""
        return replace(self, expected_head=head, abandoned=abandoned)

    def is_for(self, branch: str) -> bool:
        """Whether it may count on a branch. A commit copied to another branch counts as a person's."""
        return self.branch in ("", branch)


@dataclass(frozen=True)
class CommitFacts:
    """One commit between the input and the head, on the first-parent line.

    Attributes:
        id: full commit id.
        parent: id of the first parent.
        stamp: None if the commit has no readable stamp.
        empty: the content equals that of the first parent.
        author, subject, time: for messages. The time is aware, in UTC; None if it is unknown.
    """

    id: str
    parent: str
    stamp: Stamp | None = None
    empty: bool = False
    author: str = ""
    subject: str = ""
    time: datetime | None = None

    @property
    def counting_stamp(self) -> Stamp | None:
        """The stamp if it counts. A cherry-picked or copied stamp names another parent and does not count."""
        if self.stamp is not None and self.stamp.expected_head == self.parent:
            return self.stamp
        return None

    @property
    def is_seal(self) -> bool:
        """Whether this is a seal without content. The publish fence skips it."""
        stamp = self.counting_stamp
        return stamp is not None and stamp.completes is not None and self.empty


@dataclass(frozen=True)
class History:
    """The commits between an input ref and the head of its branch.

    Attributes:
        head: full id of the commit that the branch points at.
        base: full id of the input ref.
        commits: first-parent line from the head (first) down to the base (excluded).
        is_known: False if nobody has read it: `commits` is empty, and the store decides when it stages.
    """

    head: str
    base: str
    commits: tuple[CommitFacts, ...] = ()
    is_known: bool = True

    @property
    def between(self) -> tuple[CommitFacts, ...]:
        """The commits that the publish fence judges: oldest first, without seals."""
        return tuple(commit for commit in reversed(self.commits) if not commit.is_seal)

    def on_branch(self, branch: str) -> History:
        """The same history as that of `branch`. Stamps made for another branch are copies and are dropped."""
        commits = (
            commit if commit.stamp is None or commit.stamp.is_for(branch) else replace(commit, stamp=None)
            for commit in self.commits
        )
        return replace(self, commits=tuple(commits))


# ---------------------------------------------------------------- plans: what the publish fence decides


@dataclass(frozen=True)
class Publish:
    """Stage the input's content plus the changes on top of `head`. Content of `abandoned` commits is dropped."""

    head: str
    abandoned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merge:
    """Stage the input's content, the changes of the `foreign` commits (oldest first, see `plans.foreign_changes`), and
    the attempt's own changes, on top of `head`. Drops what `abandoned` commits changed.

    Attributes:
        replaced: each commit that claims to replace some of `abandoned`, with those. It may have written a path exactly
            as one of them had, which a comparison with its first parent does not show.
        line: all of `foreign` and `abandoned`, oldest first; may be left out if `replaced` is empty.
        unsettled: some of `foreign` may be abandoned later, so a conflict is not final.
        commits: the foreign commits, to name in a refusal; may be left out.

    Raises:
        ValueError: `line` is needed but does not list all of them.
    """

    head: str
    foreign: tuple[str, ...]
    abandoned: tuple[str, ...] = ()
    replaced: tuple[tuple[str, tuple[str, ...]], ...] = ()
    line: tuple[str, ...] = ()
    unsettled: bool = False
    commits: tuple[CommitFacts, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.replaced and {*self.line} != {*self.foreign, *self.abandoned}:
            raise ValueError("a merge with replacing commits needs all foreign and abandoned commits in line")


@dataclass(frozen=True)
class Seal:
    """Stage an empty commit on top of `head` that records the commit `completes`, and complete with that commit.

    `source` is the stamp with the result: the adopted one, or for a no-op the attempt's own.
    """

    head: str
    completes: str
    source: Stamp | None = None


@dataclass(frozen=True)
class Complete:
    """Complete with `ref` and write nothing. `result` is that of another try; None means this attempt's own."""

    ref: str
    result: JsonObject | None = None


@dataclass(frozen=True)
class Conflict:
    """What others have changed and this attempt cannot be merged with.

    Attributes:
        paths: each such path of the repository, sorted, with the ids of the foreign commits that changed it, oldest
            first. Empty for a path that was changed only by commits beyond the search limit.
    """

    paths: Mapping[str, tuple[str, ...]]

    @property
    def commits(self) -> frozenset[str]:
        """Ids of all commits that changed one of the paths."""
        return frozenset(commit_id for changed_by in self.paths.values() for commit_id in changed_by)


@dataclass(frozen=True)
class Refuse:
    """Do not move the target: `foreign` commits (oldest first) lie between the input and the head.

    Attributes:
        unsettled: all of them may be abandoned later, so the refusal is not final.
        conflict: what refuses, and `foreign` are its commits. None if any foreign commit refuses.
    """

    head: str
    foreign: tuple[CommitFacts, ...]
    unsettled: bool = False
    conflict: Conflict | None = None


Plan = Publish | Merge | Seal | Complete | Refuse


@dataclass(frozen=True)
class Validate:
    """`serializable` isolation beside foreign commits: follow `then` if nothing that the task could see has changed.

    Attributes:
        merge: the input's content with the foreign changes on it is compared with the input.
        then: None before the body, which then runs.
    """

    merge: Merge
    then: Plan | None = None


WritePlan = Publish | Merge | Seal
