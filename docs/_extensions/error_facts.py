"""Add to each error in the reference what its class implies: status, retry, exit code."""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from perago import errors
from perago.cli.failure import exit_code_of
from perago.worker.executor.runner import is_final


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-process-docstring", _add_facts)
    return {"parallel_read_safe": True}


def _add_facts(_app: Sphinx, _what: str, _name: str, obj: object, _options: object, lines: list[str]) -> None:
    if not (isinstance(obj, type) and issubclass(obj, errors.PeragoError) and obj.__module__ == errors.__name__):
        return
    an_error = obj("any")
    status = "FAILED_WITH_TERMINAL_ERROR" if is_final(an_error) else "FAILED"
    helps = "can help" if obj.retry_can_help else "cannot help"
    lines += ["", f"*A worker reports {status} · another try {helps} · exit code {exit_code_of(an_error)}*", ""]
