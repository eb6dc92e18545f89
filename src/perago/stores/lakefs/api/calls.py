"""What all calls of the API share: URLs, JSON, errors, pages."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from yarl import URL

from perago.errors import RuntimeConfigError, StoreError
from perago.http.answer import Answer, FaultKind, HttpFault
from perago.http.connecting import split_server_url
from perago.http.session import HttpSession, Request, encoded
from perago.stores.lakefs.api.answers import (
    LakeFSError,
    is_of_conductor,
    refused,
    unanswered,
)
from perago.values.json_text import parse_json

T = TypeVar("T")


CALL_SECONDS = 60.0
"""Deadline of a call that moves no content, including its retries."""


PAGE = 1000
"""Items per page; the server's maximum."""


_PREFIX = "/api/v1"


def api_root(endpoint_url: str) -> str:
    """The URL of the API at an endpoint. Accepts `http://host:8000` and `http://host:8000/api/v1`.

    Raises:
        RuntimeConfigError: the endpoint is not such a URL.
    """
    parts = split_server_url(
        endpoint_url,
        not_a_url="the lakeFS endpoint is not a URL such as http://lakefs.example:8000; give scheme and host, without "
        "a query",
        has_user="the lakeFS endpoint URL contains a user or password; give the access key separately",
    )
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
        login: names the sources of the credentials, for errors; see `client.Login.sources`.
    """

    def __init__(self, root: str, session: HttpSession, login: Callable[[], str] = str) -> None:
        self.root = root
        self.session = session
        self._login = login

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
            raise self._refusal(name, _without_query(request.url), answer)
        return answer

    def _refusal(self, name: str, where: str, answer: Answer) -> LakeFSError:
        """The error for an unexpected status. If the server does not know the credentials, it names their sources."""
        return refused(name, where, answer, self._login())

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
