"""Stamps as trailers of commit messages, and the history read from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pygit2

from perago.ports import commit_time
from perago.stores.git.repository import BareRepository
from perago.values.history import CommitFacts, History, Stamp
from perago.values.models import Changes, WorkspaceInput
from perago.values.plans import MAX_HISTORY, input_not_on_branch
from perago.values.stamps import from_pairs, to_pairs

_PREFIX = "Perago-"
_TREE = "tree"
_LINES_OF_OURS = re.compile(rf"^{_PREFIX}[A-Z][A-Za-z-]*:".encode(), re.MULTILINE)
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_LEAST_LINES = 2  # a person's message may mention one of these trailers
_TRAILER = re.compile(r"([A-Za-z0-9-]+):(?: (.*))?")
_SUBJECT_LENGTH = 120


def compose(stamp: Stamp, subject: str, tree_id: str) -> str:
    """The message of a stamped commit: a subject, a sentence for people, and the stamp as trailers.

    It also names the tree. If a person amends the commit, the tree differs, and the stamp no longer counts.
    """
    pairs = {**to_pairs(stamp), _TREE: tree_id}
    trailers = [f"{_trailer_name(name)}: {value}" for name, value in pairs.items() if value]
    root, path = stamp.logical_task
    about = _on_a_line(f"Task {path} of workflow {root}, try {stamp.retry_count + 1}.")
    return "\n".join((subject, "", about, "", *trailers, ""))


def publication_subject(stamp: Stamp, changes: Changes) -> str:
    counts = f"+{len(changes.added)} ~{len(changes.modified)} -{len(changes.deleted)} files"
    return f"{_on_a_line(stamp.task)}: {counts}"


def seal_subject(stamp: Stamp) -> str:
    return f"{_on_a_line(stamp.task)}: completed with {(stamp.completes or '')[:12]}"


def message_of(commit: pygit2.Commit) -> str:
    """A commit's message. Bytes that are not UTF-8 are replaced."""
    return commit.raw_message.decode("utf-8", "replace")


def subject_of(commit: pygit2.Commit) -> str:
    return message_of(commit).lstrip("\n").partition("\n")[0].strip()


def body_of(commit: pygit2.Commit) -> str:
    """A commit's message without its subject and the trailers of a stamp, even of one that does not count."""
    body = message_of(commit).lstrip("\n").partition("\n")[2].strip()
    if not _may_have_stamp(commit):
        return body
    last = _PARAGRAPHS.split(body)[-1]
    kept = [line for line in last.split("\n") if not line.startswith(_PREFIX)]
    return (body.removesuffix(last) + "\n".join(kept)).strip()


def author_of(commit: pygit2.Commit) -> str:
    return commit.author.raw_name.decode("utf-8", "replace")


def stamp_of(commit: pygit2.Commit) -> Stamp | None:
    """The commit's stamp; None if it is missing, unreadable, or for another tree."""
    carried = carried_stamp(commit)
    return None if carried is None or carried.tree_id != str(commit.tree_id) else carried.stamp


def counting_stamp_of(commit: pygit2.Commit) -> Stamp | None:
    """The commit's stamp, unless it is for another parent: then somebody copied the commit."""
    stamp = stamp_of(commit)
    return stamp if stamp is not None and stamp.expected_head == parent_of(commit) else None


@dataclass(frozen=True)
class CarriedStamp:
    """The stamp in a commit's message, even if it was copied from another commit.

    Attributes:
        tree_id: of the tree that the stamp is for; None if missing.
        stamp: None if unreadable.
    """

    tree_id: str | None
    stamp: Stamp | None


def carried_stamp(commit: pygit2.Commit) -> CarriedStamp | None:
    """The stamp in a commit's message; None if there is none."""
    if not _may_have_stamp(commit):
        return None
    pairs = _pairs(message_of(commit))
    return CarriedStamp(pairs.pop(_TREE, None), from_pairs(pairs))


def _may_have_stamp(commit: pygit2.Commit) -> bool:
    return len(_LINES_OF_OURS.findall(commit.raw_message)) >= _LEAST_LINES


def _pairs(message: str) -> dict[str, str]:
    """The stamp's pairs, if all lines of the last paragraph are trailers and no Perago trailer is a duplicate."""
    paragraph = _PARAGRAPHS.split(message.rstrip())[-1]
    pairs: dict[str, str] = {}
    for line in paragraph.split("\n"):
        match = _TRAILER.fullmatch(line)
        if match is None:
            return {}
        if not match[1].startswith(_PREFIX):
            continue
        name = match[1].removeprefix(_PREFIX).lower()
        if name in pairs:
            return {}
        pairs[name] = (match[2] or "").strip()
    return pairs


def _trailer_name(name: str) -> str:
    return _PREFIX + "-".join(part.capitalize() for part in name.split("-"))


def _on_a_line(text: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_SUBJECT_LENGTH]


def read_history(repository: BareRepository, workspace_input: WorkspaceInput) -> History:
    """Read the head, then the first-parent line from it down to the input. See `ports.ReadHistory`."""
    base = str(repository.input_commit(workspace_input.ref).id)
    head = repository.branch_head(workspace_input.branch)
    commits: list[CommitFacts] = []
    for commit in first_parents(repository, head, MAX_HISTORY + 1):
        if str(commit.id) == base:
            return History(head, base, tuple(commits))
        commits.append(_facts(repository, commit))
    raise input_not_on_branch(workspace_input.branch, base, head)


def first_parents(repository: BareRepository, head: str, limit: int) -> Iterator[pygit2.Commit]:
    """Commits from a head along first parents, at most `limit`."""
    next_id: str | None = head
    for _ in range(limit):
        if next_id is None:
            return
        commit = repository.commit(next_id)
        yield commit
        next_id = parent_of(commit)


def parent_of(commit: pygit2.Commit) -> str | None:
    """Full id of the first parent; None for a root commit."""
    parents = commit.parent_ids
    return str(parents[0]) if parents else None


def _facts(repository: BareRepository, commit: pygit2.Commit) -> CommitFacts:
    parent = parent_of(commit)
    return CommitFacts(
        id=str(commit.id),
        parent=parent or "",
        stamp=stamp_of(commit),
        empty=parent is not None and repository.commit(parent).tree_id == commit.tree_id,
        author=author_of(commit),
        subject=subject_of(commit),
        time=commit_time(commit.commit_time),
    )
