"""What the server's answers say, as values. The API's own names; what we do not use is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Json = Mapping[str, Any]

EXECUTABLE_KEY = "perago-executable"
"""Key of an object's user metadata; it is there, with the value "true", where the owner may execute the file."""

_NOTHING: Json = {}


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """A repository."""

    id: str
    storage_namespace: str
    default_branch: str
    read_only: bool

    @classmethod
    def of(cls, answer: Json) -> RepositoryFacts:
        return cls(
            answer["id"], answer["storage_namespace"], answer["default_branch"], bool(answer.get("read_only", False))
        )


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch, or a tag, and the commit that it points at."""

    id: str
    commit_id: str

    @classmethod
    def of(cls, answer: Json) -> Branch:
        return cls(answer["id"], answer["commit_id"])


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; `parents[0]` is the first parent. `creation_date` is in seconds since the epoch."""

    id: str
    parents: tuple[str, ...]
    meta_range_id: str
    message: str
    committer: str
    creation_date: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, answer: Json) -> Commit:
        return cls(
            id=answer["id"],
            parents=tuple(answer["parents"]),
            meta_range_id=answer["meta_range_id"],
            message=answer["message"],
            committer=answer["committer"],
            creation_date=answer["creation_date"],
            metadata=answer.get("metadata") or {},
        )


class ObjectStats(NamedTuple):
    """An object: a tuple, because there are many.

    Attributes:
        physical_address: where its bytes lie: the address, new for every upload; or, in a presigned listing, a URL
            that is a credential.
        executable: `EXECUTABLE_KEY` is among its user metadata.
    """

    path: str
    physical_address: str
    checksum: str
    size: int
    executable: bool = False

    @classmethod
    def of(cls, answer: Json) -> ObjectStats:
        metadata = answer.get("metadata") or _NOTHING
        return cls(
            answer["path"],
            answer["physical_address"],
            answer["checksum"],
            answer["size_bytes"],
            metadata.get(EXECUTABLE_KEY) == "true",
        )


@dataclass(frozen=True, slots=True)
class StagingLocation:
    """Where a client may upload by itself; `presigned_url` is a credential."""

    physical_address: str
    presigned_url: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, answer: Json) -> StagingLocation:
        return cls(answer["physical_address"], answer.get("presigned_url"))


DiffKind = Literal["added", "removed", "changed", "conflict", "prefix_changed"]


class DiffEntry(NamedTuple):
    """One path that differs between two refs.

    Attributes:
        size: of the right side, of a removed one of the left.
        checksum, executable: of the right side, where they were asked for.
    """

    path: str
    kind: DiffKind
    size: int
    checksum: str = ""
    executable: bool = False

    @classmethod
    def of(cls, answer: Json) -> DiffEntry:
        right = answer.get("right") or _NOTHING
        return cls(
            answer["path"],
            answer["type"],
            answer.get("size_bytes") or 0,
            right.get("checksum") or "",
            (right.get("metadata") or _NOTHING).get(EXECUTABLE_KEY) == "true",
        )


@dataclass(frozen=True, slots=True)
class ObjectFault:
    """A path that a bulk call could not do."""

    path: str
    status: int
    message: str

    @classmethod
    def of(cls, answer: Json) -> ObjectFault:
        return cls(answer.get("path") or "", answer["status_code"], answer["message"])


@dataclass(frozen=True, slots=True)
class HookRun:
    """One hook of an action run. `action` and `hook_id` are the names in the action file."""

    hook_run_id: str
    action: str
    hook_id: str
    status: str

    @classmethod
    def of(cls, answer: Json) -> HookRun:
        return cls(answer["hook_run_id"], answer["action"], answer["hook_id"], answer["status"])


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says of itself.

    Attributes:
        version: such as "1.84.0"; empty where it does not say.
        blockstore: such as "s3" or "local".
        presigned: it gives URLs for reading and writing objects without it.
    """

    version: str
    blockstore: str
    presigned: bool

    @classmethod
    def of(cls, answer: Json) -> ServerFacts:
        storage = answer.get("storage_config") or {}
        return cls(
            version=(answer.get("version_config") or {}).get("version") or "",
            blockstore=storage.get("blockstore_type") or "",
            presigned=bool(storage.get("pre_sign_support")),
        )
