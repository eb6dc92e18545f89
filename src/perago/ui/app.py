"""The addresses of the page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from perago import __version__
from perago.errors import (
    BranchNotFoundError,
    EngineError,
    PeragoError,
    PrefixNotFoundError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RunNotFoundError,
    TaskInputError,
)
from perago.ui.branch import BranchQuestion, branch_page
from perago.ui.commit import (
    commit_page,
    content_of,
    file_page,
    lineage_page,
    sealed_content,
    shown_page,
    thumbnail,
)
from perago.ui.compare import compare_page
from perago.ui.follow import followed
from perago.ui.guard import SEALED, Guard, Keys
from perago.ui.render import Renderer, plain
from perago.ui.results import ResultsQuestion, results_page
from perago.ui.rows import rows_page
from perago.ui.run import RunPage, run_page
from perago.ui.runs import RunsQuestion, runs_page
from perago.ui.series import series_page
from perago.ui.source import NoRepositoryError, Source
from perago.ui.worker import worker_page
from perago.values.redaction import mask_json, mask_text, traceback_of

MAX_FOLLOWED = 16
"""Pages that follow a run at the same time."""

MAX_TEXT = 2_000
"""Characters of a part of an address."""

_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "hx-csp.min.js": "text/javascript; charset=utf-8",
    "hx-sse.min.js": "text/javascript; charset=utf-8",
}
_NOT_FOUND = (
    NoRepositoryError,
    BranchNotFoundError,
    PrefixNotFoundError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RunNotFoundError,
)

_LOGGER = logging.getLogger("perago.ui")

Answering = Callable[[Request], Awaitable[Response]]


def build(source: Source, keys: Keys) -> Guard:
    """The page, behind its guard."""
    pages = Pages(source, keys.place)
    app = Starlette(routes=pages.routes(), exception_handlers={Exception: pages.fault, HTTPException: pages.fault})
    return Guard(app, keys)


class Pages:
    """Answers requests."""

    def __init__(self, source: Source, place: str) -> None:
        self._source = source
        self._followed = 0
        self._render = Renderer(place, repository=source.name, branch=source.branch, version=__version__)

    def routes(self) -> list[Route]:
        """Each page has its address, and its address as JSON."""
        pages: dict[str, tuple[str, Callable[[Request], object]]] = {
            "/runs": ("runs.html", self.runs),
            "/branch": ("branch.html", self.branch),
            "/run/{run}": ("run.html", self.run),
            "/run/{run}/series": ("series.html", self.series),
            "/compare": ("compare.html", self.compare),
            "/compare/file": ("rows.html", self.rows),
            "/results": ("results.html", self.results),
            "/worker": ("worker.html", self.worker),
            "/commit/{ref}": ("commit.html", self.commit),
            "/commit/{ref}/lineage": ("lineage.html", self.lineage),
            "/commit/{ref}/shown": ("shown.html", self.shown),
            "/commit/{ref}/file": ("file.html", self.file),
        }
        found = [Route("/", self._first), Route("/static/{name}", self._static), Route("/run/{run}/live", self._live)]
        found += [Route("/commit/{ref}/download", self._download), Route("/commit/{ref}/thumbnail", self._thumbnail)]
        found += [Route(SEALED + "{ref}", self._sealed)]
        for path, (template, page) in pages.items():
            found += [Route(f"{path}.json", self._page(template, page)), Route(path, self._page(template, page))]
        return found

    def runs(self, request: Request) -> object:
        given = _texts(request)
        return runs_page(
            self._source,
            RunsQuestion(
                task=given.get("task", ""),
                status=given.get("status", ""),
                where=given.get("where", ""),
                sort=given.get("sort", ""),
                desc=given.get("order", "desc") != "asc",
                after=given.get("after", ""),
            ),
        )

    def branch(self, request: Request) -> object:
        given = _texts(request)
        return branch_page(
            self._source,
            BranchQuestion(
                name=given.get("name") or self._source.branch,
                task=given.get("task", ""),
                run=given.get("run", ""),
                path=given.get("path", ""),
                author=given.get("author", ""),
                since=given.get("since", ""),
                until=given.get("until", ""),
                before=given.get("before", ""),
            ),
        )

    def run(self, request: Request) -> object:
        return run_page(self._source, request.path_params["run"])

    def series(self, request: Request) -> object:
        return series_page(self._source, request.path_params["run"])

    def compare(self, request: Request) -> object:
        names = [name for given in request.query_params.getlist("of") for name in given.split()]
        return compare_page(self._source, names)

    def rows(self, request: Request) -> object:
        given = _texts(request)
        path = request.query_params.get("path", "")
        return rows_page(self._source, given.get("before", ""), given.get("after", ""), path, given.get("key", ""))

    def results(self, request: Request) -> object:
        given = _texts(request)
        return results_page(
            self._source,
            ResultsQuestion(
                branch=given.get("name") or self._source.branch,
                task=given.get("task", ""),
                x=given.get("x", ""),
                y=given.get("y", ""),
            ),
        )

    def worker(self, _request: Request) -> object:
        return worker_page(self._source.root)

    def commit(self, request: Request) -> object:
        return commit_page(self._source, request.path_params["ref"])

    def lineage(self, request: Request) -> object:
        return lineage_page(self._source, request.path_params["ref"])

    def file(self, request: Request) -> object:
        return file_page(self._source, request.path_params["ref"], request.query_params.get("path", ""))

    def shown(self, request: Request) -> object:
        return shown_page(self._source, request.path_params["ref"], request.query_params.get("path", ""))

    # ---- internals

    async def _sealed(self, request: Request) -> Response:
        """A page or drawing of the repository, for a frame or an image of ours alone; `guard` has its headers."""
        if request.headers.get("sec-fetch-dest", "iframe") not in ("iframe", "image"):
            raise HTTPException(HTTPStatus.NOT_FOUND)

        def made() -> Response:
            try:
                kind, content = sealed_content(
                    self._source, request.path_params["ref"], request.query_params.get("path", "")
                )
            except (PeragoError, NoRepositoryError):
                return Response(status_code=HTTPStatus.NOT_FOUND)
            media_type = "text/html; charset=utf-8" if kind == "page" else "image/svg+xml"
            return Response(content, media_type=media_type)

        return await run_in_threadpool(made)

    async def _download(self, request: Request) -> Response:
        """A file as it is, to be saved: never shown, whatever it is."""
        path = request.query_params.get("path", "")

        def made() -> Response:
            try:
                content = content_of(self._source, request.path_params["ref"], path)
            except (PeragoError, NoRepositoryError) as exc:
                return self._failed(request, exc)
            name = quote(path.rpartition("/")[2].encode("utf-8", "replace"), safe="")
            headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
            return Response(content, media_type="application/octet-stream", headers=headers)

        return await run_in_threadpool(made)

    async def _thumbnail(self, request: Request) -> Response:
        def made() -> Response:
            try:
                png = thumbnail(self._source, request.path_params["ref"], request.query_params.get("path", ""))
            except (PeragoError, NoRepositoryError) as exc:
                return self._failed(request, exc)
            return Response(status_code=HTTPStatus.NOT_FOUND) if png is None else Response(png, media_type="image/png")

        return await run_in_threadpool(made)

    async def _live(self, request: Request) -> Response:
        """The changing part of a run's page, as often as it changes, to the end of the run."""
        if self._followed >= MAX_FOLLOWED:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE)
        run_id = request.path_params["run"]

        last: RunPage | None = None

        def look() -> tuple[str, bool]:
            nonlocal last
            try:
                page = last = run_page(self._source, run_id)
            except RunNotFoundError:
                raise
            except EngineError as exc:
                if self._source.conductor is None:
                    raise
                if last is None:  # the page that was loaded stays as it is
                    return "", True
                page = replace(last, notice=f"The server does not answer, so this may be old: {exc}")
            return self._render.html(request, "run_live.html", mask_json(plain(page))), page.is_live

        async def parts() -> AsyncIterator[bytes]:
            self._followed += 1
            try:
                async for part in followed(look, lambda: self._source.engine.version(run_id), request.is_disconnected):
                    yield part
            finally:
                self._followed -= 1

        return StreamingResponse(parts(), media_type="text/event-stream")

    def _page(self, template: str, page: Callable[[Request], object]) -> Answering:
        async def answer(request: Request) -> Response:
            def made() -> Response:
                try:
                    return self._render.answer(request, template, page(request))
                except (PeragoError, NoRepositoryError) as exc:
                    return self._failed(request, exc)

            return await run_in_threadpool(made)

        return answer

    async def _first(self, request: Request) -> Response:
        return RedirectResponse(f"{request.scope['root_path']}/runs", status_code=HTTPStatus.SEE_OTHER)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response((Path(__file__).parent / "static" / name).read_bytes(), media_type=_STATIC[name])

    def _failed(self, request: Request, exc: PeragoError | NoRepositoryError) -> Response:
        status = HTTPStatus.BAD_GATEWAY
        if isinstance(exc, _NOT_FOUND):
            status = HTTPStatus.NOT_FOUND
        elif isinstance(exc, TaskInputError):
            status = HTTPStatus.BAD_REQUEST
        return self._error(request, status, mask_text(str(exc)))

    async def fault(self, request: Request, exc: Exception) -> Response:
        """The answer to an unknown address, or after a fault of ours."""
        if isinstance(exc, HTTPException):
            return self._error(request, HTTPStatus(exc.status_code), "There is no such page.")
        _LOGGER.error("%s failed: %s", mask_text(request.url.path), traceback_of(exc))
        told = f"This page failed: {type(exc).__name__}. That is a fault of Perago; please report it."
        return self._error(request, HTTPStatus.INTERNAL_SERVER_ERROR, told)

    def _error(self, request: Request, status: HTTPStatus, message: str) -> Response:
        page: dict[str, Any] = {"error": {"status": status.value, "title": status.phrase, "message": message}}
        return self._render.answer(request, "error.html", page, status=status)


def _texts(request: Request) -> dict[str, str]:
    """The query of an address.

    Raises:
        TaskInputError: a part is too long.
    """
    found = {name: text.strip() for name, text in request.query_params.items()}
    for name, text in found.items():
        if len(text) > MAX_TEXT:
            raise TaskInputError(f"{name[:40]!r} has {len(text)} characters; at most {MAX_TEXT} are read")
    return found
