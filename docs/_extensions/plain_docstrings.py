"""Render docstrings: text in single backticks is code, and a link if it is a public name.

Also corrects two things that autodoc renders badly: defaults from a factory, and dashes.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

import perago

_IN_BACKTICKS = re.compile(r"(?<![`:])`([^`]+)`(?!`)")
_CLASS = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_OBJECT = re.compile(r"<(?:factory|function [\w.]+)>")
_VALUES = ("property", "attribute", "data")
_COLON = "\0"
"""Replaces a colon while napoleon reads, because napoleon would take the words before it for a type."""


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-process-docstring", _mark_code, priority=400)  # napoleon, at 500, looks for colons
    app.connect("autodoc-process-docstring", _restore_colons, priority=600)
    app.connect("autodoc-process-signature", _shorten_defaults)
    app.connect("doctree-read", _join_by_dashes)
    return {"parallel_read_safe": True}


def _shorten_defaults(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Replace defaults such as `<factory>`: they are not expressions, so Sphinx would show the signature as text."""
    if signature is None:
        return None, returned
    return _OBJECT.sub("...", _CLASS.sub(r"\1", signature)), returned


def _join_by_dashes(_app: Sphinx, doctree: nodes.document) -> None:
    """Write one dash between a parameter and its description; Sphinx and napoleon write two."""
    for text in list(doctree.findall(nodes.Text)):
        if text.startswith(" -- "):
            text.parent.replace(text, nodes.Text(text.replace(" -- ", " – ", 1)))


def _mark_code(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    text = "\n".join(lines)
    lines[:] = _IN_BACKTICKS.sub(_as_role, text).split("\n")
    if what in _VALUES and lines:
        lines[0] = lines[0].replace(": ", _COLON)


def _restore_colons(_app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ": ") for line in lines]


def _as_role(match: re.Match[str]) -> str:
    code = match[1]
    return f":py:obj:`{code}`" if code in perago.__all__ else f"``{code}``"
