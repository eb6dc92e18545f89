"""Stamps as commit metadata, and the history between an input and its head, which is read from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perago.ports import commit_time
from perago.stores.lakefs.api.answers import Commit, LakeFSError
from perago.stores.lakefs.api.calls import PAGE
from perago.stores.lakefs.api.client import LakeFSClient, both, each
from perago.stores.lakefs.api.commits import Commits, full_id
from perago.stores.lakefs.publication.fence import EXPECTED_PARENT, is_action
from perago.values.history import CommitFacts, History, Stamp
from perago.values.models import Changes, WorkspaceInput
from perago.values.plans import MAX_HISTORY, input_not_on_branch
from perago.values.stamps import from_pairs, to_pairs

_STAMP = "perago."
_STAGED = "perago-staged."
_CONTENT = _STAMP + "content"
_EMPTY = "empty"
_LARGE = ("params", "result", "workflow-params")
_SUBJECT_LENGTH = 120


def publication_metadata(stamp: Stamp, staged: Commit) -> dict[str, str]:
    """The metadata of the merge that publishes a staged commit: the stamp, and what the fence compares.

    It names the content too. Anybody who reuses the metadata for other content has made a commit of their own.
    """
    pairs = {_STAMP + name: value for name, value in to_pairs(stamp).items() if value}
    empty = {_STAMP + _EMPTY: "true"} if is_staged_empty(staged) else {}
    return {**pairs, **empty, _CONTENT: staged.meta_range_id, EXPECTED_PARENT: stamp.expected_head}


def staged_metadata(stamp: Stamp, *, empty: bool) -> dict[str, str]:
    """The metadata of a staged commit: its stamp, under other names so that it is never taken for a publication.

    Args:
        empty: the content equals that of the parent, apart from the fence.
    """
    pairs = {_STAGED + name: value for name, value in to_pairs(stamp).items() if value and name not in _LARGE}
    return {**pairs, **({_STAGED + _EMPTY: "true"} if empty else {})}


def stamp_of(commit: Commit) -> Stamp | None:
    """The commit's stamp; None if it is missing, unreadable, or for other content."""
    is_own = commit.metadata.get(_CONTENT) == commit.meta_range_id
    return _stamp_at(commit, _STAMP) if is_own else None


def counting_stamp_of(commit: Commit) -> Stamp | None:
    """The commit's stamp, unless it is for another parent: then somebody copied the commit."""
    stamp = stamp_of(commit)
    return stamp if stamp is not None and commit.parents[:1] == (stamp.expected_head,) else None


def parents_of(commit: Commit) -> tuple[str, ...]:
    """The parents, without the staged commit that a publication or an import has merged."""
    return commit.parents[:1] if EXPECTED_PARENT in commit.metadata else commit.parents


def carries_stamp(commit: Commit) -> bool:
    """Whether the commit has a stamp at all, even an unreadable or copied one.

    An import only records which head it expected.
    """
    return any(name.startswith(_STAMP) and name != EXPECTED_PARENT for name in commit.metadata)


def names_other_content(commit: Commit) -> bool:
    """Whether the stamp is for other content, so that somebody copied it to another commit."""
    return commit.metadata.get(_CONTENT, commit.meta_range_id) != commit.meta_range_id


def staged_stamp_of(commit: Commit) -> Stamp | None:
    """The stamp of a commit on a staging branch; None if it is not one of Perago's."""
    return _stamp_at(commit, _STAGED)


def is_staged_empty(staged: Commit) -> bool:
    return staged.metadata.get(_STAGED + _EMPTY) == "true"


async def is_same_content(client: LakeFSClient, repository: str, left: str, right: str) -> bool:
    """Whether two commits have the same files, apart from the server's actions."""
    async for page in client.diff_refs(repository, left, right):
        if any(not is_action(entry.path) for entry in page):
            return False
    return True


def _claims_to_be_empty(commit: Commit) -> bool:
    return stamp_of(commit) is not None and commit.metadata.get(_STAMP + _EMPTY) == "true"


def publication_message(stamp: Stamp, changes: Changes) -> str:
    counts = f"+{len(changes.added)} ~{len(changes.modified)} -{len(changes.deleted)} files"
    return _message(f"{_on_a_line(stamp.task)}: {counts}", stamp)


def seal_message(stamp: Stamp) -> str:
    return _message(f"{_on_a_line(stamp.task)}: completed with {(stamp.completes or '')[:12]}", stamp)


def subject_of(commit: Commit) -> str:
    return commit.message.lstrip("\n").partition("\n")[0].strip()


def body_of(commit: Commit) -> str:
    """A commit's message without its subject."""
    return commit.message.lstrip("\n").partition("\n")[2].strip()


def _message(subject: str, stamp: Stamp) -> str:
    root, path = stamp.logical_task
    about = f"Task {path} of workflow {root}, try {stamp.retry_count + 1}."
    return f"{subject}\n\n{_on_a_line(about)}"


def _stamp_at(commit: Commit, prefix: str) -> Stamp | None:
    pairs = {name.removeprefix(prefix): value for name, value in commit.metadata.items() if name.startswith(prefix)}
    return from_pairs(pairs) if pairs else None


def _on_a_line(text: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_SUBJECT_LENGTH]


async def read_history(client: LakeFSClient, commits: Commits, workspace_input: WorkspaceInput) -> History:
    """Read the head, then the first-parent line from it down to the input. See `ports.ReadHistory`.

    The server returns the head and up to 1,000 commits per call. The log also accepts tags and commits, so the first
    read also asks whether the name is a branch.
    """
    base = full_id(workspace_input)
    try:
        _, line = await both(commits.check_branch(workspace_input), _line(client, workspace_input, base))
    except LakeFSError as exc:
        raise await commits.explained(exc, workspace_input) from exc
    for commit in reversed(line):  # the newest last, because staging needs them
        commits.remember(workspace_input.repository, commit)
    if line[-1].id != base:
        raise input_not_on_branch(workspace_input.branch, base, line[0].id)
    pairs = [*pairwise(line)]
    empty = await _empty(client, workspace_input.repository, pairs)
    return History(line[0].id, base, tuple(_facts(commit, parent, commit.id in empty) for commit, parent in pairs))


async def _empty(client: LakeFSClient, repository: str, pairs: Sequence[tuple[Commit, Commit]]) -> set[str]:
    """Ids of the commits whose content equals that of their parent.

    Commits with the same meta range have the same content. Content that is uploaded again has another one, and so has
    a seal that added the fence. Their metadata says that they are empty. Anybody can write that, so the server compares
    the two commits. A commit with another meta range that does not say so is not compared: it counts as content.
    """
    same = {commit.id for commit, parent in pairs if commit.meta_range_id == parent.meta_range_id}
    claimed = [pair for pair in pairs if pair[0].id not in same and _claims_to_be_empty(pair[0])]

    async def is_true(pair: tuple[Commit, Commit]) -> bool:
        commit, parent = pair
        return await is_same_content(client, repository, parent.id, commit.id)

    found = await each(claimed, is_true)
    return same | {commit.id for (commit, _), true in zip(claimed, found, strict=True) if true}


async def _line(client: LakeFSClient, workspace_input: WorkspaceInput, base: str) -> list[Commit]:
    return [commit async for commit in first_parents(client, workspace_input, base, MAX_HISTORY + 1)]


async def first_parents(
    client: LakeFSClient, workspace_input: WorkspaceInput, stop_at: str, limit: int
) -> AsyncIterator[Commit]:
    """Commits from the branch's head along first parents, down to and including `stop_at`, at most `limit`."""
    count = 0
    pages = client.log_commits(
        workspace_input.repository, workspace_input.branch, stop_at=stop_at, amount=min(PAGE, limit)
    )
    async for page in pages:
        for commit in page:
            yield commit
            count += 1
            if commit.id == stop_at or count == limit:
                return


@dataclass(frozen=True)
class Publication:
    """The target's answer about a staged commit.

    Attributes:
        head: full id of the commit that the target points at.
        commit: the commit that published the staged one; None if there is none.
    """

    head: str
    commit: Commit | None


async def find_publication(client: LakeFSClient, workspace_input: WorkspaceInput, staged: Commit) -> Publication:
    """Search the target for the merge of a staged commit, from its head down to the staged commit's parent.

    Each execution has its own staged commit, which is the second parent of its merge. The search therefore finds this
    execution's publication, even if the answer to the merge was lost, and no other's.

    Raises:
        LakeFSError: the server did not answer.
    """
    head = ""
    stop_at = staged.parents[0]
    async for commit in first_parents(client, workspace_input, stop_at, MAX_HISTORY):
        head = head or commit.id
        if staged.id in commit.parents[1:]:
            return Publication(head, commit)
    return Publication(head, None)


def _facts(commit: Commit, parent: Commit, empty: bool) -> CommitFacts:
    return CommitFacts(
        id=commit.id,
        parent=parent.id,
        stamp=stamp_of(commit),
        empty=empty,
        author=commit.committer,
        subject=subject_of(commit),
        time=commit_time(commit.creation_date),
    )
