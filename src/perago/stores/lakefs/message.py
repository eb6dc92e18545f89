"""Stamps as commit metadata, and the messages around them."""

from __future__ import annotations

from perago.history import Stamp
from perago.models import Changes
from perago.stamps import from_pairs, to_pairs
from perago.stores.lakefs.fence import EXPECTED_PARENT
from perago.stores.lakefs.values import Commit

_STAMP = "perago."
_STAGED = "perago-staged."
_CONTENT = _STAMP + "content"
_EMPTY = "empty"
_LARGE = ("params", "result")
_SUBJECT_LENGTH = 120


def publication_metadata(stamp: Stamp, staged: Commit) -> dict[str, str]:
    """The metadata of the merge that publishes a staged commit: the stamp, and what the fence compares.

    The content is named too: whoever makes another commit of it, with other content, has made their own.
    """
    pairs = {_STAMP + name: value for name, value in to_pairs(stamp).items() if value}
    empty = {_STAMP + _EMPTY: "true"} if is_staged_empty(staged) else {}
    return {**pairs, **empty, _CONTENT: staged.meta_range_id, EXPECTED_PARENT: stamp.expected_head}


def staged_metadata(stamp: Stamp, *, empty: bool) -> dict[str, str]:
    """The metadata of a staged commit: whose it is. Under other names, so that it is never taken for a publication.

    Args:
        empty: its content is its parent's, the fence aside.
    """
    pairs = {_STAGED + name: value for name, value in to_pairs(stamp).items() if value and name not in _LARGE}
    return {**pairs, **({_STAGED + _EMPTY: "true"} if empty else {})}


def stamp_of(commit: Commit) -> Stamp | None:
    """What a commit says of itself; None where it says nothing, nothing that can be read, or names other content."""
    is_own = commit.metadata.get(_CONTENT) == commit.meta_range_id
    return _stamp_at(commit, _STAMP) if is_own else None


def carries_stamp(commit: Commit) -> bool:
    """Whether there is a stamp on it at all, also one that cannot be read, or is another commit's.

    An import says only which head it expected.
    """
    return any(name.startswith(_STAMP) and name != EXPECTED_PARENT for name in commit.metadata)


def names_other_content(commit: Commit) -> bool:
    """Whether its stamp was made for other content: somebody made another commit with it."""
    return commit.metadata.get(_CONTENT, commit.meta_range_id) != commit.meta_range_id


def staged_stamp_of(commit: Commit) -> Stamp | None:
    """The stamp of what a commit on a staging branch is to become; None: it is none of ours."""
    return _stamp_at(commit, _STAGED)


def is_staged_empty(staged: Commit) -> bool:
    return staged.metadata.get(_STAGED + _EMPTY) == "true"


def is_empty(commit: Commit, parent: Commit) -> bool:
    """Whether a commit's content is its parent's.

    Content that was uploaded anew has another meta range, and a seal may have brought the fence along: there the
    commit's own word counts, which its stager wrote and nobody can change.
    """
    if commit.meta_range_id == parent.meta_range_id:
        return True
    return stamp_of(commit) is not None and commit.metadata.get(_STAMP + _EMPTY) == "true"


def publication_message(stamp: Stamp, changes: Changes) -> str:
    counts = f"+{len(changes.added)} ~{len(changes.modified)} -{len(changes.deleted)} files"
    return _message(f"{_on_a_line(stamp.task)}: {counts}", stamp)


def seal_message(stamp: Stamp) -> str:
    return _message(f"{_on_a_line(stamp.task)}: completed with {(stamp.completes or '')[:12]}", stamp)


def subject_of(commit: Commit) -> str:
    return commit.message.lstrip("\n").partition("\n")[0].strip()


def _message(subject: str, stamp: Stamp) -> str:
    about = f"Task {stamp.reference_task_name} of workflow {stamp.workflow_instance_id}, try {stamp.retry_count + 1}."
    return f"{subject}\n\n{_on_a_line(about)}"


def _stamp_at(commit: Commit, prefix: str) -> Stamp | None:
    pairs = {name.removeprefix(prefix): value for name, value in commit.metadata.items() if name.startswith(prefix)}
    return from_pairs(pairs) if pairs else None


def _on_a_line(text: str) -> str:
    plain = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(plain.split())[:_SUBJECT_LENGTH]
