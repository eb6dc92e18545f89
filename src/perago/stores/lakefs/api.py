"""Calls of the API in general: their URLs, their answers as JSON, their errors, their pages."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from yarl import URL

from perago.errors import RuntimeConfigError, StoreError
from perago.http.answer import Answer
from perago.http.faults import FaultKind, HttpFault
from perago.http.session import HttpSession, Request, encoded
from perago.json_text import parse_json
from perago.stores.lakefs.failure import is_of_conductor, refused, unanswered

T = TypeVar("T")

CALL_SECONDS = 60.0
"""Deadline of a call that moves no content, all its tries together."""

PAGE = 1000
"""Items of a page: the most that the server gives."""

_PREFIX = "/api/v1"


def authorization(access_key_id: str, secret_access_key: str) -> str:
    """The header's value for an access key."""
    return "Basic " + base64.b64encode(f"{access_key_id}:{secret_access_key}".encode()).decode()


def api_root(endpoint_url: str) -> str:
    """The API's URL at an endpoint; `http://host:8000` and `http://host:8000/api/v1` both name it.

    Raises:
        RuntimeConfigError: it is no such URL.
    """
    fault = "the lakeFS endpoint is no URL such as http://lakefs.example:8000; give scheme and host, without a query"
    try:
        parts = urlsplit(endpoint_url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        raise RuntimeConfigError(fault) from None
    if not valid or parts.query or parts.fragment:
        raise RuntimeConfigError(fault)
    if parts.username is not None or parts.password is not None:
        raise RuntimeConfigError("the lakeFS endpoint URL may not hold user or password; give the access key by itself")
    path = parts.path.rstrip("/").removesuffix(_PREFIX)
    return f"{parts.scheme}://{parts.netloc}{path}{_PREFIX}"


def segment(name: str) -> str:
    """A name as one segment of a URL's path. What is no text is sent as bytes that no name on the server has."""
    return quote(name, safe="", errors="surrogatepass")


class Api:
    """The server's API over one session.

    Args:
        root: as `api_root` gives it.
        session: carries the credentials. The caller closes it.
    """

    def __init__(self, root: str, session: HttpSession) -> None:
        self.root = root
        self.session = session

    def url(self, path: str, query: Mapping[str, str | int | bool | None] | None = None) -> URL:
        """The URL of a call; a parameter that is None is left out.

        Args:
            path: below the API's root, its segments encoded already.
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
        """Make a call by the API's name for it.

        Raises:
            LakeFSError: the answer has another status than expected, or there was none.
            RuntimeConfigError: it is a Conductor server that answers.
        """
        try:
            answer = await self.session.call(request, timeout=timeout)
        except HttpFault as fault:
            raise unanswered(name, _without_query(request.url), fault) from fault
        if answer.status not in expected:
            if is_of_conductor(answer):
                raise RuntimeConfigError(
                    f"the lakeFS server of the settings, {self.root}, is a Conductor server: set "
                    f"LAKECTL_SERVER_ENDPOINT_URL to the address of lakeFS, such as http://localhost:8000"
                )
            raise refused(name, _without_query(request.url), answer)
        return answer

    async def get(self, name: str, url: URL, of: Callable[[Any], T]) -> T:
        """What `of` makes of a GET's JSON."""
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
        """Make a call whose body is JSON: (method, URL, what to send without the members that are None)."""
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
        """All pages of a listing, from `query["after"]` on.

        Raises:
            StoreError: the server gives the same page again, which would never end.
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
                    f"{name} at {self.root} gives the same page again and again; the listing holds a name that is no "
                    f"valid UTF-8, or the server is at fault"
                )


def page_of(answer: Any, of: Callable[[Any], T]) -> tuple[list[T], str | None]:
    """A page's items, and after which one the next page begins; None: there is none."""
    pagination = answer["pagination"]
    return [of(item) for item in answer["results"]], pagination["next_offset"] if pagination["has_more"] else None


def read(name: str, answer: Answer, of: Callable[[Any], T]) -> T:
    """What `of` makes of an answer's JSON.

    Raises:
        StoreError: it is no JSON, or has another shape.
    """
    try:
        return of(parse_json(answer.body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        fault = HttpFault(
            FaultKind.MALFORMED, f"the answer is not of the shape that lakeFS gives ({type(exc).__name__})"
        )
        raise unanswered(name, "the endpoint", fault) from exc


def _without_query(url: URL) -> str:
    return str(url).partition("?")[0]


def _text(value: str | int | bool | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
