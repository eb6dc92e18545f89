"""The directive `settings`: documents the variables whose names begin with its argument.

The description is the text below the field in `perago.settings.config`. The default is the value in a process
without settings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from perago.settings import config as declared
from perago.settings import load_runtime_config, variables

MODULE = "app.features"
_OF_THE_MODULE = "PERAGO_WORKER_ID_PREFIX"
"""Has no fixed default: it depends on the module."""

_HOMES = {name: f"/${name}" for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
"""An environment in which a default directory shows the variable that it is below."""

_SIZES = frozenset({"PERAGO_LOG_FILE_MAX_SIZE", "PERAGO_CACHE_MAX_SIZE"})


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}


class Settings(SphinxDirective):
    """One entry for each variable: description, default, key in `perago.toml`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(declared.__file__)
        return self.parse_text_to_nodes("\n".join(_entries(self.arguments[0])))


def _entries(prefix: str) -> Iterator[str]:
    told = ModuleAnalyzer.for_module(declared.__name__).find_attr_docs()
    defaults = _defaults()
    for name, where in variables.DECLARED.items():
        if name.startswith(prefix):
            text = told[where.model.__name__, where.field]  # a KeyError: it has no text below it
            yield from (f"```{{envvar}} {name}", *text)
            facts = {"Default": defaults.get(name), "In `perago.toml`": variables.TOML_KEYS.get(name)}
            yield from (f"{fact}: `{value}`." for fact, value in facts.items() if value is not None)
            yield from ("```", "")


def _defaults() -> dict[str, str]:
    """The defaults by variable: the values in a process without settings."""
    with tempfile.TemporaryDirectory() as empty:
        config = load_runtime_config(MODULE, cwd=Path(empty), process_env=_HOMES, probe_roots=False)
    found = {
        name: (getattr(config, variables.field_of(name), None), name in _SIZES)
        for name in variables.TOML_KEYS
        if name != _OF_THE_MODULE
    }
    return {name: _text(value, is_size=is_size) for name, (value, is_size) in found.items() if value is not None}


def _text(value: object, *, is_size: bool) -> str:
    """Write a value as in the environment."""
    if isinstance(value, Path):
        return str(value).removeprefix("/")
    if isinstance(value, timedelta):
        hours = value // timedelta(hours=1)
        return f"{hours}h" if hours <= 24 else f"{hours // 24}d"
    if is_size and isinstance(value, int):
        return f"{value // 1024**3}GB" if value % 1024**3 == 0 else f"{value // 1024**2}MB"
    return str(value)
