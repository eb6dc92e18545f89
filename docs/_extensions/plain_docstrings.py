"""Docstrings as the source has them: what stands in single backticks is code, and a link where it is a public name."""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

import perago

_IN_BACKTICKS = re.compile(r"(?<![`:])`([^`]+)`(?!`)")


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-process-docstring", _mark_code, priority=400)  # before napoleon, which looks for colons
    return {"parallel_read_safe": True}


def _mark_code(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    text = "\n".join(lines)
    lines[:] = _IN_BACKTICKS.sub(_as_role, text).split("\n")


def _as_role(match: re.Match[str]) -> str:
    code = match[1]
    return f":py:obj:`{code}`" if code in perago.__all__ else f"``{code}``"
