"""Answers of a page: HTML by its template, or the same data as JSON. Masks secrets in one place, for both."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from perago.running.progress import describe_counts
from perago.running.text import count_text, printable, size_text, span_text
from perago.ui.guard import NONCE
from perago.values.redaction import mask_json

MAX_VALUE_CHARACTERS = 200
"""Of a param or result in a list. A run's own page has all of it."""

SHORT_COMMIT = 12

_SIGNS = {
    "COMPLETED": ("good", "✓"),
    "COMPLETED_WITH_ERRORS": ("warn", "!"),
    "running": ("live", "●"),
    "RUNNING": ("live", "●"),
    "IN_PROGRESS": ("live", "●"),
    "SCHEDULED": ("wait", "○"),
    "waiting": ("wait", "○"),
    "not taken": ("wait", "–"),
    "CANCELED": ("wait", "–"),
    "SKIPPED": ("wait", "–"),
    "PAUSED": ("wait", "‖"),
}
"""Class and sign of a status; all others are failures."""

_WORDS = {
    "COMPLETED": "completed",
    "COMPLETED_WITH_ERRORS": "completed with errors",
    "FAILED": "failed",
    "FAILED_WITH_TERMINAL_ERROR": "failed for good",
    "TIMED_OUT": "timed out",
    "CANCELED": "cancelled",
    "TERMINATED": "terminated",
    "IN_PROGRESS": "running",
    "RUNNING": "running",
    "SCHEDULED": "waiting",
    "SKIPPED": "skipped",
    "PAUSED": "paused",
}


def plain(value: object) -> Any:
    """A page's data as JSON values. Numbers that JSON lacks become null."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a lone surrogate of some commit's JSON
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    raise TypeError(f"a page has a {type(value).__name__}, which JSON does not know")


def environment(*, url: Callable[..., str], first: str = "", **shared: Any) -> Environment:
    """The templates, which escape everything.

    Args:
        url: makes the address that leads to a page, of its path and its query.
        first: a folder of templates that stand for others of the same name.
        shared: what each template gets besides its page.
    """
    templates = Path(__file__).parent / "templates"
    found = Environment(
        loader=FileSystemLoader([templates / first, templates]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(
        when=_when, span=_span, value=_value, short=_short, size=size_text, day=_day, status_class=status_class
    )
    found.globals.update(
        url=url,
        status_word=_status_word,
        status_sign=_status_sign,
        counts=describe_counts,
        number_of=count_text,
        **shared,
    )
    return found


class Renderer:
    """Renders pages.

    Args:
        place: what every address begins with; see `guard.Keys`.
        shared: what each template gets besides its page.
    """

    def __init__(self, place: str, **shared: Any) -> None:
        self._environment = environment(url=partial(url, place), is_report=False, **shared)

    def answer(self, request: Request, template: str, page: object, *, status: int = 200) -> Response:
        """The answer for a page: JSON if the address ends so, else HTML."""
        data = mask_json(plain(page))
        if request.url.path.endswith(".json"):
            return json_response(data, status)
        return HTMLResponse(self.html(request, template, data), status_code=status)

    def html(self, request: Request, template: str, data: object) -> str:
        """A template with data that is plain and masked."""
        found = self._environment.get_template(template)
        query = dict(request.query_params.items())
        place = request.scope["root_path"]
        return found.render(
            page=data, nonce=request.scope[NONCE], path=request.url.path.removeprefix(place), query=query
        )


def json_response(data: object, status: int = 200) -> Response:
    """Plain and masked data as JSON."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    return Response(text, status_code=status, media_type="application/json")


def url(place: str, path: str, /, **query: Any) -> str:
    """An address of this page. Parts of the query that are None or "" are left out.

    Args:
        place: what the path begins with; see `guard.Keys`.
    """
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return place + quote(path) + (f"?{urlencode(given)}" if given else "")


def _shown(value: object) -> object:
    """Every value that a template shows: characters that control a terminal or the text direction are escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def status_class(status: str) -> str:
    return _SIGNS.get(status, ("bad", "✗"))[0]


def _status_sign(status: str) -> str:
    return _SIGNS.get(status, ("bad", "✗"))[1]


def _status_word(status: str) -> str:
    return _WORDS.get(status, status)


def _when(text: str | None) -> str:
    """A time of this machine's zone."""
    return "" if text is None else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else span_text(seconds)


def _short(commit: str | None) -> str:
    return (commit or "")[:SHORT_COMMIT]


def _value(value: object, limit: int = MAX_VALUE_CHARACTERS) -> str:
    """A value in a list."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= limit else text[: limit - 1] + "…"
