"""The server's answers as values, with the API's names, and its refusals as errors without secrets."""

from __future__ import annotations

import json
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from perago.errors import StoreError
from perago.http.answer import Answer, FaultKind, HttpFault, retry_after_of
from perago.http.refusals import Advice, CallError, message_of
from perago.values.json_text import parse_json

Json = Mapping[str, Any]

EXECUTABLE_KEY = "perago-executable"
"""Key of an object's user metadata. It has the value "true" if the owner may execute the file."""

POSIX_KEY = "::lakefs::posix-permissions"
"""Key of the permissions that `lakectl local` stores and restores, as JSON with "Mode", "UID" and "GID"."""

POSIX_EXECUTABLE = json.dumps({"Mode": stat.S_IFREG | 0o755}, separators=(",", ":"))
"""Without owner and group, so that `lakectl local` uses those of its user."""

_NOTHING: Json = {}


def is_executable(metadata: Json | None) -> bool:
    """Whether an object's user metadata says that the owner may execute the file, as Perago or lakectl writes it."""
    if not metadata:
        return False
    if metadata.get(EXECUTABLE_KEY) == "true":
        return True
    try:
        permissions = json.loads(metadata.get(POSIX_KEY) or "{}")
        modes = [value for name, value in permissions.items() if name.lower() == "mode"]  # as lakectl reads it
    except (ValueError, AttributeError, RecursionError):
        return False
    return any(isinstance(mode, int) and bool(mode & stat.S_IXUSR) for mode in modes)


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
    """A branch or a tag, and its commit."""

    id: str
    commit_id: str

    @classmethod
    def of(cls, answer: Json) -> Branch:
        return cls(answer["id"], answer["commit_id"])


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. `parents[0]` is the first parent; `creation_date` is in seconds since the epoch."""

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
    """An object. A tuple, because there are many.

    Attributes:
        physical_address: address of the bytes, new for every upload. In a presigned listing, a URL that is a
            credential.
        executable: see `is_executable`.
    """

    path: str
    physical_address: str
    checksum: str
    size: int
    executable: bool = False

    @classmethod
    def of(cls, answer: Json) -> ObjectStats:
        return cls(
            answer["path"],
            answer["physical_address"],
            answer["checksum"],
            answer["size_bytes"],
            is_executable(answer.get("metadata")),
        )


@dataclass(frozen=True, slots=True)
class StagingLocation:
    """An address for a client's own upload; `presigned_url` is a credential."""

    physical_address: str
    presigned_url: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, answer: Json) -> StagingLocation:
        return cls(answer["physical_address"], answer.get("presigned_url"))


@dataclass(frozen=True, slots=True)
class MultipartUpload:
    """An upload in parts that has begun; `urls`, one for each part, are credentials."""

    id: str
    physical_address: str
    urls: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, answer: Json) -> MultipartUpload:
        return cls(answer["upload_id"], answer["physical_address"], tuple(answer.get("presigned_urls") or ()))


DiffKind = Literal["added", "removed", "changed", "conflict", "prefix_changed"]


class DiffEntry(NamedTuple):
    """One path that differs between two refs.

    Attributes:
        size: of the right side; of the left side if the path was removed.
        checksum, executable: of the right side, if requested.
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
            is_executable(right.get("metadata")),
        )


@dataclass(frozen=True, slots=True)
class ObjectFault:
    """A path for which a bulk call failed."""

    path: str
    status: int
    message: str

    @classmethod
    def of(cls, answer: Json) -> ObjectFault:
        return cls(answer.get("path") or "", answer["status_code"], answer["message"])


@dataclass(frozen=True, slots=True)
class HookRun:
    """One hook of an action run. `action` and `hook_id` are names from the action file."""

    action: str
    hook_id: str
    status: str

    @classmethod
    def of(cls, answer: Json) -> HookRun:
        return cls(answer["action"], answer["hook_id"], answer["status"])


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server's version and abilities.

    Attributes:
        version: such as "1.86.0"; empty if unknown.
        blockstore: such as "s3" or "local".
        presigned: whether it gives URLs for direct access to the block store.
        multipart: whether it gives such URLs for the parts of an object, too.
    """

    version: str
    blockstore: str
    presigned: bool
    multipart: bool

    @classmethod
    def of(cls, answer: Json) -> ServerFacts:
        storage = answer.get("storage_config") or {}
        return cls(
            version=(answer.get("version_config") or {}).get("version") or "",
            blockstore=storage.get("blockstore_type") or "",
            presigned=bool(storage.get("pre_sign_support")),
            multipart=bool(storage.get("pre_sign_multipart_upload")),
        )


_ADVICE = Advice(
    by_status={
        400: "Read the message",
        401: "Check the access key id and the secret access key, or the session token, which may have expired",
        403: "The access key's user lacks the permission: grant it, or use another key",
        404: "Check the names of repository, branch and commit",
        409: "Another request did the same; try again",
        410: "The object's data is gone from the block store",
        412: "A condition or a hook on the server refused",
        423: "Wait until the branch is free, and try again",
        429: "The server is busy: try again later, or run fewer workers at once",
        507: "The server's storage is full",
    },
    by_fault={
        FaultKind.UNREACHABLE: "Check the endpoint URL, the network, and that the server runs",
        FaultKind.TLS: "Check the endpoint URL, and set the ca_file option if the server has its own CA",
        FaultKind.CUT: "Try again; if it happens again, check the server and any proxies",
        FaultKind.TIMEOUT: "Try again; if it happens again, the server or the network is too slow",
        FaultKind.MALFORMED: "Check that the endpoint URL is that of a lakeFS server",
    },
    redirect="Use the URL of the redirect as the endpoint; credentials do not follow redirects",
)


class LakeFSError(CallError, StoreError):
    """A call to lakeFS was refused or failed.

    Attributes:
        retry_after: seconds that the server asked to wait.
    """

    advice = _ADVICE
    retry_after: float | None = None

    @property
    def is_unclear(self) -> bool:
        """Whether the server may have done what was asked."""
        if self.status is not None:
            return self.status >= 500 or self.status in (408, 429)
        return self.fault not in (FaultKind.UNREACHABLE, FaultKind.TLS)

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later."""
        return self.is_unclear or self.fault is FaultKind.UNREACHABLE


class LakeFSAccessError(LakeFSError):
    """The server does not know the access key (401), or its user may not do this (403)."""

    retry_can_help: ClassVar[bool] = False
    retry_elsewhere_can_help: ClassVar[bool] = True


class DamagedObjectError(StoreError):
    """An object's content does not match the server's record. It was neither laid out nor published."""


def is_of_conductor(answer: Answer) -> bool:
    """Whether Conductor sent this refusal. Only its errors have the fields `instance` and `retryable`."""
    try:
        said = parse_json(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and {"status", "message", "instance", "retryable"} <= said.keys()


def refused(call: str, where: str, answer: Answer, login: str = "") -> LakeFSError:
    """The error for an unexpected status.

    Args:
        login: names and sources of the credentials.
    """
    kind = LakeFSAccessError if answer.status in (401, 403) else LakeFSError
    message = message_of(answer.body)
    if answer.status == 401 and login:
        message = f"{message}, with {login}"
    error = kind(call, where, status=answer.status, message=message)
    error.retry_after = retry_after_of(answer.headers)
    return error


def unanswered(call: str, where: str, fault: HttpFault) -> LakeFSError:
    """The error for a call without a complete answer."""
    return LakeFSError(call, where, status=None, message=fault.detail, fault=fault.kind)


def uri(repository: str, *below: str) -> str:
    """`lakefs://…`, quoted for a shell, because the names come from a task's input."""
    return shlex.quote("/".join(("lakefs:/", repository, *below)))
