"""Show command lines in the help of a command as code on its page."""

from __future__ import annotations

import click
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_LINE = "| "
"""Prefix of lines that click must not wrap, as sphinx-click writes it."""


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("sphinx-click-process-description", _as_code)
    return {"parallel_read_safe": True}


def _as_code(_app: Sphinx, _context: click.Context, lines: list[str]) -> None:
    shown: list[str] = []
    for line in lines:
        is_command = line.startswith(_LINE) and line.removeprefix(_LINE).lstrip().startswith("perago ")
        if is_command and not (shown and shown[-1].startswith("   perago ")):
            shown += ["", ".. code-block:: sh", ""]
        shown.append("   " + line.removeprefix(_LINE).lstrip() if is_command else line)
    lines[:] = shown
