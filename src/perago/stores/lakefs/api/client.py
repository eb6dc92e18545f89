"""The lakeFS server's API, typed: the calls that the store makes, over one connection pool.

`Api` has the parts that all calls share (URLs, JSON, errors, pages). `ObjectCalls` and `RefCalls` have one method per
call, and `LakeFSClient` combines them. `each` and `both` make calls in parallel.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from yarl import URL

from perago._version import __version__
from perago.errors import ObjectNameError, RuntimeConfigError, StoreError
from perago.http.answer import Answer
from perago.http.faults import FaultKind, HttpFault
from perago.http.parallel import in_parallel, together
from perago.http.session import Body, HttpSession, Request, Stream, encoded
from perago.stores.lakefs.api.answers import (
    EXECUTABLE_KEY,
    Branch,
    Commit,
    DiffEntry,
    HookRun,
    LakeFSError,
    ObjectFault,
    ObjectStats,
    RepositoryFacts,
    ServerFacts,
    StagingLocation,
    is_of_conductor,
    refused,
    unanswered,
)
from perago.values.json_text import parse_json
from perago.values.names import show_name

T = TypeVar("T")

CALL_SECONDS = 60.0
"""Deadline of a call that moves no content, including its retries."""

PAGE = 1000
"""Items per page; the server's maximum."""

_PREFIX = "/api/v1"


def authorization(access_key_id: str, secret_access_key: str) -> str:
    """The value of the Authorization header for an access key."""
    return "Basic " + base64.b64encode(f"{access_key_id}:{secret_access_key}".encode()).decode()


def api_root(endpoint_url: str) -> str:
    """The URL of the API at an endpoint. Accepts `http://host:8000` and `http://host:8000/api/v1`.

    Raises:
        RuntimeConfigError: the endpoint is not such a URL.
    """
    fault = "the lakeFS endpoint is not a URL such as http://lakefs.example:8000; give scheme and host, without a query"
    try:
        parts = urlsplit(endpoint_url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise RuntimeConfigError(fault) from None
    if not valid or parts.query or parts.fragment:
        raise RuntimeConfigError(fault)
    if parts.username is not None or parts.password is not None:
        raise RuntimeConfigError("the lakeFS endpoint URL contains a user or password; give the access key separately")
    path = parts.path.rstrip("/").removesuffix(_PREFIX)
    return f"{parts.scheme}://{parts.netloc}{path}{_PREFIX}"


def segment(name: str) -> str:
    """A name as one URL path segment. Lone surrogates are sent as bytes that match no name on the server."""
    return quote(name, safe="", errors="surrogatepass")


class Api:
    """The server's API over one session.

    Args:
        root: as returned by `api_root`.
        session: has the credentials. The caller closes it.
    """

    def __init__(self, root: str, session: HttpSession) -> None:
        self.root = root
        self.session = session

    def url(self, path: str, query: Mapping[str, str | int | bool | None] | None = None) -> URL:
        """The URL of a call. Parameters that are None are left out.

        Args:
            path: below the API's root, with encoded segments.
        """
        given = [(key, value) for key, value in (query or {}).items() if value is not None]
        if not given:
            return encoded(self.root + path)
        return encoded(f"{self.root}{path}?" + "&".join(f"{key}={segment(_text(value))}" for key, value in given))

    async def call(
        self,
        name: str,
        request: Request,
        *,
        expected: tuple[int, ...] = (200,),
        timeout: float = CALL_SECONDS,
    ) -> Answer:
        """Make a call. `name` is the API's name for it.

        Raises:
            LakeFSError: the status is not an expected one, or there was no answer.
            RuntimeConfigError: a Conductor server answered.
        """
        try:
            answer = await self.session.call(request, timeout=timeout)
        except HttpFault as fault:
            raise unanswered(name, _without_query(request.url), fault) from fault
        if answer.status not in expected:
            if is_of_conductor(answer):
                raise RuntimeConfigError(
                    f"the lakeFS endpoint {self.root} is a Conductor server. Set LAKECTL_SERVER_ENDPOINT_URL to the "
                    f"address of lakeFS, such as http://localhost:8000"
                )
            raise refused(name, _without_query(request.url), answer)
        return answer

    async def get(self, name: str, url: URL, of: Callable[[Any], T]) -> T:
        """GET a URL and convert its JSON with `of`."""
        return read(name, await self.call(name, Request("GET", url)), of)

    async def send(
        self,
        name: str,
        request: tuple[str, URL, Mapping[str, Any]],
        *,
        expected: tuple[int, ...],
        idempotent: bool,
        timeout: float = CALL_SECONDS,
    ) -> Answer:
        """Make a call with a JSON body: (method, URL, body). Members of the body that are None are left out."""
        method, url, body = request
        document = json.dumps({key: value for key, value in body.items() if value is not None})
        return await self.call(
            name,
            Request(method, url, {"Content-Type": "application/json"}, document.encode(), idempotent),
            expected=expected,
            timeout=timeout,
        )

    async def pages(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | int | bool | None],
        of: Callable[[Any], T],
    ) -> AsyncIterator[list[T]]:
        """All pages of a listing, starting after `query["after"]`.

        Raises:
            StoreError: the server repeats a page, so the listing would never end.
        """
        after = str(query.get("after") or "")
        amount = query.get("amount", PAGE)
        seen: set[str] = set()
        while True:
            url = self.url(path, {**query, "after": after or None, "amount": amount})
            page, following = await self.get(name, url, lambda answer: page_of(answer, of))
            yield page
            if following is None:
                return
            seen.add(after)
            after = following
            if after in seen or not after:
                raise StoreError(
                    f"{name} at {self.root} repeats a page; the listing contains a name that is not valid UTF-8, or "
                    f"the server has a defect"
                )


def page_of(answer: Any, of: Callable[[Any], T]) -> tuple[list[T], str | None]:
    """A page's items, and the offset of the next page, or None for the last page."""
    pagination = answer["pagination"]
    return [of(item) for item in answer["results"]], pagination["next_offset"] if pagination["has_more"] else None


def read(name: str, answer: Answer, of: Callable[[Any], T]) -> T:
    """Convert an answer's JSON with `of`.

    Raises:
        StoreError: it is not JSON, or has another shape.
    """
    try:
        return of(parse_json(answer.body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        fault = HttpFault(
            FaultKind.MALFORMED, f"the answer does not have the shape of a lakeFS answer ({type(exc).__name__})"
        )
        raise unanswered(name, "the endpoint", fault) from exc


def _without_query(url: URL) -> str:
    return str(url).partition("?")[0]


def _text(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


MAX_DELETED_AT_ONCE = 1000
"""Paths per bulk delete; the server's maximum."""

SLOWEST_BYTES_PER_SECOND = 128 * 1024
"""A transfer that is slower on average is ended."""

_UPLOAD_HEADERS = {"Content-Type": "application/octet-stream"}
_EXECUTABLE_HEADERS = {**_UPLOAD_HEADERS, f"X-Lakefs-Meta-{EXECUTABLE_KEY}": "true"}


def transfer_seconds(size: int) -> float:
    """The deadline of a call that moves `size` bytes."""
    return CALL_SECONDS + size / SLOWEST_BYTES_PER_SECOND


class ObjectCalls(Api):
    """Objects of commits and staging branches. Every call raises `LakeFSError`. Read by full commit id."""

    # ---- listing

    async def list_objects(
        self, repository: str, ref: str, *, prefix: str = "", after: str = "", presign: bool = False
    ) -> AsyncIterator[list[ObjectStats]]:
        """All objects below a prefix, in pages, in byte order of their names.

        Raises:
            ObjectNameError: a page ends with a name that is not valid UTF-8, so the next page cannot be requested.
            StoreError: the names are not in order, so the listing might never end. Other names that are not valid UTF-8
                contain U+FFFD; the caller judges them.
        """
        offset: str | None = after
        while offset is not None:
            page, following = await self.list_page(repository, ref, prefix=prefix, after=offset, presign=presign)
            _check_rising(offset, page, following)
            yield page
            offset = following

    async def list_page(
        self,
        repository: str,
        ref: str,
        *,
        prefix: str = "",
        after: str = "",
        amount: int = PAGE,
        presign: bool = False,
    ) -> tuple[list[ObjectStats], str | None]:
        """One page of `list_objects`, and the name after which the next page begins, or None for the last page."""
        query = {
            "prefix": prefix or None,
            "after": after or None,
            "amount": amount,
            "presign": True if presign else None,
        }
        url = self.url(f"{_at(repository, ref)}/ls", query)
        return await self.get("listObjects", url, lambda answer: page_of(answer, ObjectStats.of))

    async def stat_object(self, repository: str, ref: str, path: str) -> ObjectStats:
        url = self.url(f"{_at(repository, ref)}/stat", {"path": path})
        return await self.get("statObject", url, ObjectStats.of)

    async def find_object(self, repository: str, ref: str, path: str) -> ObjectStats | None:
        """The object, or None if the object, the ref or the repository does not exist."""
        try:
            return await self.stat_object(repository, ref, path)
        except LakeFSError as exc:
            if exc.status == 404:
                return None
            raise

    # ---- reading

    def object_url(self, repository: str, ref: str, path: str) -> URL:
        """The URL of an object's bytes."""
        return self.url(_at(repository, ref), {"path": path})

    async def read_object_at(self, url: URL, size: int, *, ours: bool = True) -> bytes:
        """Read the bytes at a URL into memory; `ours` as in `open_object`."""
        where = self.root if ours else _block_store(url)
        request = Request("GET", url, authorized=ours)
        try:
            answer = await self.session.call(request, timeout=transfer_seconds(size))
        except HttpFault as fault:
            raise unanswered("getObject", where, fault) from fault
        if answer.status != 200:
            raise refused("getObject", where, answer)
        return answer.body

    @asynccontextmanager
    async def open_object(self, url: URL, size: int, part: range, *, ours: bool = True) -> AsyncIterator[Stream]:
        """Stream a part of an object. Not retried.

        Args:
            size: of the whole object.
            part: range of bytes.
            ours: whether the URL is the server's. A presigned one gets no credentials.
        """
        whole = len(part) == size
        headers = {} if whole else {"Range": f"bytes={part.start}-{part.stop - 1}"}
        request = Request("GET", url, headers, authorized=ours)
        where = self.root if ours else _block_store(url)
        try:
            async with self.session.stream(request, timeout=transfer_seconds(len(part))) as stream:
                if stream.status != (200 if whole else 206):
                    raise refused("getObject", where, Answer(stream.status, stream.headers, await stream.read()))
                yield stream
        except HttpFault as fault:
            raise unanswered("getObject", where, fault) from fault

    async def presigned_read_url(self, repository: str, ref: str, path: str) -> URL:
        """A URL of the block store for an object's bytes. It is a credential."""
        url = self.url(_at(repository, ref), {"path": path, "presign": True})
        answer = await self.call("getObject", Request("GET", url), expected=(302,))
        return URL(answer.headers["Location"], encoded=True)

    # ---- staging

    async def upload_object(
        self,
        repository: str,
        branch: str,
        path: str,
        body: Body,
        *,
        size: int,
        executable: bool = False,
    ) -> ObjectStats:
        """Upload an object to a branch, uncommitted. Safe to repeat, but an iterator can be sent only once."""
        headers = _EXECUTABLE_HEADERS if executable else _UPLOAD_HEADERS
        if not isinstance(body, bytes):
            headers = {**headers, "Content-Length": str(size)}
        url = self.url(f"{_on(repository, branch)}/objects", {"path": path})
        answer = await self.call(
            "uploadObject", Request("POST", url, headers, body), expected=(201,), timeout=transfer_seconds(size)
        )
        return read("uploadObject", answer, ObjectStats.of)

    async def stage_object(self, repository: str, branch: str, path: str, stats: ObjectStats) -> ObjectStats:
        """Add an object to a branch whose bytes are already in the block store. Copies nothing.

        Do not use it with a local block store: lakeFS 1.84 then lists the object at a wrong address. Use `copy_object`.

        Args:
            stats: address, checksum and size of the bytes; its `path` is ignored.
        """
        body = {
            "physical_address": stats.physical_address,
            "checksum": stats.checksum,
            "size_bytes": stats.size,
            "content_type": _UPLOAD_HEADERS["Content-Type"],
            "metadata": _metadata(stats.executable),
        }
        url = self.url(f"{_on(repository, branch)}/objects", {"path": path})
        await self.send("stageObject", ("PUT", url, body), expected=(201,), idempotent=True)
        return stats._replace(path=path)

    async def copy_object(
        self, repository: str, branch: str, path: str, *, source_ref: str, source: str, size: int = 0
    ) -> ObjectStats:
        """Copy `source` of any ref to a branch, with its user metadata. The server copies the bytes.

        Args:
            size: bytes, for the deadline.
        """
        url = self.url(f"{_on(repository, branch)}/objects/copy", {"dest_path": path})
        answer = await self.send(
            "copyObject",
            ("POST", url, {"src_path": source, "src_ref": source_ref}),
            expected=(201,),
            idempotent=True,
            timeout=transfer_seconds(size),
        )
        return read("copyObject", answer, ObjectStats.of)

    async def get_physical_address(
        self, repository: str, branch: str, path: str, *, presign: bool = True
    ) -> StagingLocation:
        """An address to which this client may upload an object itself, to link it afterwards."""
        url = self.url(f"{_on(repository, branch)}/staging/backing", {"path": path, "presign": presign})
        return await self.get("getPhysicalAddress", url, StagingLocation.of)

    async def link_physical_address(
        self, repository: str, branch: str, location: StagingLocation, stats: ObjectStats
    ) -> ObjectStats:
        """Add to a branch, at `stats.path`, what was uploaded to `location`."""
        body = {
            "staging": {"physical_address": location.physical_address},
            "checksum": stats.checksum,
            "size_bytes": stats.size,
            "content_type": _UPLOAD_HEADERS["Content-Type"],
            "user_metadata": _metadata(stats.executable),
        }
        url = self.url(f"{_on(repository, branch)}/staging/backing", {"path": stats.path})
        answer = await self.send("linkPhysicalAddress", ("PUT", url, body), expected=(200,), idempotent=True)
        return read("linkPhysicalAddress", answer, ObjectStats.of)

    async def delete_objects(self, repository: str, branch: str, paths: Sequence[str]) -> list[ObjectFault]:
        """Delete up to `MAX_DELETED_AT_ONCE` objects from a branch. Returns the failures.

        A missing path is fine.
        """
        if len(paths) > MAX_DELETED_AT_ONCE:
            raise ValueError(f"{len(paths)} paths exceed the limit of {MAX_DELETED_AT_ONCE}")
        url = self.url(f"{_on(repository, branch)}/objects/delete")
        body: Mapping[str, Sequence[str]] = {"paths": list(paths)}
        answer = await self.send("deleteObjects", ("POST", url, body), expected=(200,), idempotent=True)
        return read("deleteObjects", answer, lambda done: [ObjectFault.of(item) for item in done.get("errors") or []])


def _at(repository: str, ref: str) -> str:
    return f"/repositories/{segment(repository)}/refs/{segment(ref)}/objects"


def _on(repository: str, branch: str) -> str:
    return f"/repositories/{segment(repository)}/branches/{segment(branch)}"


def _block_store(url: URL) -> str:
    return f"the block store at {url.host}"


def _check_rising(after: str, page: Sequence[ObjectStats], following: str | None) -> None:
    previous = after
    for stats in page:
        is_named = "\ufffd" not in stats.path and "\ufffd" not in previous  # the server sorts the original bytes
        if is_named and stats.path <= previous and previous:
            raise StoreError(
                f"listObjects returned {show_name(stats.path)} after {show_name(previous)}, which is out of order; the "
                f"server has a defect"
            )
        previous = stats.path
    if following is None:
        return
    if "\ufffd" in previous:
        raise ObjectNameError(
            f"object name {show_name(previous)} is not valid UTF-8, so the server cannot list what follows it; remove "
            f"or rename the object"
        )
    if not page or following != previous or following <= after:
        raise StoreError("listObjects does not continue where its last page ended; the server has a defect")


def _metadata(executable: bool) -> dict[str, str] | None:
    return {EXECUTABLE_KEY: "true"} if executable else None


_CONFLICT = 409


class RefCalls(Api):
    """Repositories, branches, commits and their differences, without content. Every call raises `LakeFSError`."""

    async def get_config(self) -> ServerFacts:
        """The server's version and abilities."""
        return await self.get("getConfig", self.url("/config"), ServerFacts.of)

    # ---- repositories

    async def get_repository(self, repository: str) -> RepositoryFacts:
        return await self.get("getRepository", self.url(_repository(repository)), RepositoryFacts.of)

    async def create_repository(
        self, repository: str, storage_namespace: str, *, default_branch: str = "main"
    ) -> RepositoryFacts:
        """Create a repository with one branch at an empty first commit. 409: it exists."""
        body = {"name": repository, "storage_namespace": storage_namespace, "default_branch": default_branch}
        answer = await self.send(
            "createRepository", ("POST", self.url("/repositories"), body), expected=(201,), idempotent=False
        )
        return read("createRepository", answer, RepositoryFacts.of)

    async def get_protected_branches(self, repository: str) -> list[str]:
        """The patterns of branches that are protected from direct changes."""
        path = f"{_repository(repository)}/settings/branch_protection"
        return await self.get(
            "getBranchProtectionRules", self.url(path), lambda rules: [str(rule["pattern"]) for rule in rules]
        )

    # ---- branches and tags

    async def get_branch(self, repository: str, branch: str) -> Branch:
        return await self.get("getBranch", self.url(_branch(repository, branch)), Branch.of)

    async def find_branch(self, repository: str, branch: str) -> Branch | None:
        """The branch, or None if the branch or the repository does not exist."""
        try:
            return await self.get_branch(repository, branch)
        except LakeFSError as exc:
            if exc.status == 404:
                return None
            raise

    async def create_branch(self, repository: str, branch: str, source: str, *, hidden: bool = False) -> None:
        """Create a branch at a commit. An existing branch at the same commit is fine. 409: it is at another commit.

        Args:
            source: full commit id.
        """
        body = {"name": branch, "source": source, "hidden": hidden}
        url = self.url(f"{_repository(repository)}/branches")
        for last in (False, True):
            try:
                await self.send("createBranch", ("POST", url, body), expected=(201,), idempotent=False)
            except LakeFSError as exc:
                if not (exc.is_unclear or exc.status == _CONFLICT):
                    raise
                made = await self.find_branch(repository, branch)
                if made is not None and made.commit_id == source:
                    return
                if last or exc.status == _CONFLICT:
                    raise
            else:
                return

    async def delete_branch(self, repository: str, branch: str) -> bool:
        """Delete a branch with all its content. Returns False if there was none."""
        url = self.url(_branch(repository, branch))
        answer = await self.call("deleteBranch", Request("DELETE", url), expected=(204, 404))
        return answer.status == 204

    async def list_branches(
        self, repository: str, *, prefix: str = "", show_hidden: bool = False
    ) -> AsyncIterator[list[Branch]]:
        """All branches whose names start with `prefix`, in pages."""
        query = {"prefix": prefix or None, "show_hidden": show_hidden}
        async for page in self.pages("listBranches", f"{_repository(repository)}/branches", query, Branch.of):
            yield page

    # ---- commits

    async def get_commit(self, repository: str, commit_id: str) -> Commit:
        """A commit by its id or a unique beginning of one. The server also accepts branch and tag names."""
        url = self.url(f"{_repository(repository)}/commits/{segment(commit_id)}")
        return await self.get("getCommit", url, Commit.of)

    async def log_commits(
        self,
        repository: str,
        ref: str,
        *,
        first_parent: bool = True,
        stop_at: str | None = None,
        amount: int = PAGE,
    ) -> AsyncIterator[list[Commit]]:
        """The log of a ref, newest first, in pages of `amount`, down to and including `stop_at`."""
        path = f"{_ref(repository, ref)}/commits"
        query = {"first_parent": first_parent, "stop_at": stop_at, "amount": amount}
        async for page in self.pages("logCommits", path, query, Commit.of):
            yield page

    async def commit(
        self,
        repository: str,
        branch: str,
        message: str,
        metadata: Mapping[str, str],
        *,
        source_metarange: str | None = None,
        allow_empty: bool = False,
    ) -> Commit:
        """Commit what is staged on a branch, or the content of `source_metarange` on top of it.

        Never retried after an unclear answer. 400: nothing to commit.
        """
        url = self.url(f"{_branch(repository, branch)}/commits", {"source_metarange": source_metarange})
        body = {"message": message, "metadata": dict(metadata), "allow_empty": allow_empty}
        answer = await self.send("commit", ("POST", url, body), expected=(201,), idempotent=False)
        return read("commit", answer, Commit.of)

    async def merge(
        self,
        repository: str,
        source: str,
        branch: str,
        *,
        message: str,
        metadata: Mapping[str, str],
        options: Mapping[str, str | bool] | None = None,
        timeout: float = CALL_SECONDS,
    ) -> str:
        """Merge a ref into a branch. Returns the id of the merge commit. Never retried after an unclear answer.

        409: a conflict. 412: a hook refused. 400: nothing to merge, or the branch has uncommitted changes.

        Args:
            options: further fields of the API: `allow_empty`, `force`, `strategy`, `squash_merge`.
        """
        url = self.url(f"{_ref(repository, source)}/merge/{segment(branch)}")
        body = {"message": message, "metadata": dict(metadata), **(options or {})}
        answer = await self.send(
            "mergeIntoBranch", ("POST", url, body), expected=(200,), idempotent=False, timeout=timeout
        )
        return read("mergeIntoBranch", answer, lambda merged: str(merged["reference"]))

    # ---- differences

    async def diff_refs(
        self, repository: str, left: str, right: str, *, two_dot: bool = True, prefix: str = "", stats: bool = False
    ) -> AsyncIterator[list[DiffEntry]]:
        """The differences from `left` to `right`, in pages, by path.

        Args:
            two_dot: compare the two refs; False compares `right` with their merge base.
            stats: include the right side's checksum and executable bit.
        """
        path = f"{_ref(repository, left)}/diff/{segment(right)}"
        query = {
            "type": "two_dot" if two_dot else "three_dot",
            "prefix": prefix or None,
            "include_right_stats": True if stats else None,
        }
        async for page in self.pages("diffRefs", path, query, DiffEntry.of):
            yield page

    async def diff_branch(self, repository: str, branch: str, *, amount: int = PAGE) -> AsyncIterator[list[DiffEntry]]:
        """The uncommitted changes of a branch, in pages."""
        query = {"amount": amount}
        async for page in self.pages("diffBranch", f"{_branch(repository, branch)}/diff", query, DiffEntry.of):
            yield page

    # ---- actions

    async def list_hook_runs(self, repository: str, run_id: str) -> list[HookRun]:
        """All hooks of an action run."""
        path = f"{_runs(repository)}/{segment(run_id)}/hooks"
        return [hook async for page in self.pages("listRunHooks", path, {}, HookRun.of) for hook in page]


def _repository(repository: str) -> str:
    return f"/repositories/{segment(repository)}"


def _branch(repository: str, branch: str) -> str:
    return f"{_repository(repository)}/branches/{segment(branch)}"


def _ref(repository: str, ref: str) -> str:
    return f"{_repository(repository)}/refs/{segment(ref)}"


def _runs(repository: str) -> str:
    return f"{_repository(repository)}/actions/runs"


class LakeFSClient(RefCalls, ObjectCalls):
    """All API calls of the store. Use a client within one event loop (`perago.http.loop`).

    Every call has a deadline. Calls are retried if that is safe and can help. Commits and merges are never retried
    after an unclear answer (`LakeFSError.is_unclear`).
    """

    @classmethod
    def connect(
        cls,
        endpoint_url: str,
        access_key_id: str,
        secret_access_key: str,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        connections: int = 32,
    ) -> LakeFSClient:
        """A client for an endpoint. Sends nothing yet.

        Args:
            ca_file: certificates to trust, in addition to the system's.
            connections: maximum at the same time.

        Raises:
            RuntimeConfigError: the endpoint is not a server's URL, or the file contains no certificates.
        """
        try:
            session = HttpSession(
                authorization=authorization(access_key_id, secret_access_key),
                ca_file=ca_file,
                connections=connections,
                user_agent=f"perago/{__version__}",
            )
        except OSError as exc:  # ssl.SSLError is one
            raise RuntimeConfigError(
                f"the CA file {os.fspath(ca_file or '')!a} cannot be used: {exc.strerror or exc}; "
                f"give a file of certificates in PEM format"
            ) from exc
        return cls(api_root(endpoint_url), session)

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()


R = TypeVar("R")

AT_ONCE = 16
"""Parallel calls of one kind. 8 to 16 calls saturate a server on two cores."""


async def each(items: Iterable[T], call: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE) -> list[R]:
    """Call for every item in parallel. Returns the answers in the items' order. The first error ends all calls."""
    pending = list(items)
    answers: dict[int, R] = {}

    async def answer(numbered: tuple[int, T]) -> None:
        number, item = numbered
        answers[number] = await call(item)

    await in_parallel(enumerate(pending), answer, min(at_once, len(pending)))
    return [answers[number] for number in range(len(pending))]


async def both(first: Awaitable[T], second: Awaitable[R]) -> tuple[T, R]:
    """Wait for two awaitables in parallel. The first error ends both."""
    answers: tuple[list[T], list[R]] = [], []

    async def wait_first() -> None:
        answers[0].append(await first)

    async def wait_second() -> None:
        answers[1].append(await second)

    await together(wait_first(), wait_second())
    return answers[0][0], answers[1][0]
