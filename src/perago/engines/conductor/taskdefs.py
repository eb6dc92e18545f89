"""Comparison of a registered TaskDef with the declared one, as a diff. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

TaskDef = Mapping[str, Any]

OPTIONAL_DEFAULTS: TaskDef = {
    "description": None,
    "concurrentExecLimit": None,
    "rateLimitFrequencyInSeconds": 1,
    "rateLimitPerFrequency": 0,
}
"""Fields that Perago's TaskDef may omit, with the server's defaults. All other fields, such as the registration time,
belong to the server."""


YOUNGER_FIELDS = frozenset({"backoffJitterMs", "maxRetryDelaySeconds", "totalTimeoutSeconds"})
"""Fields that servers before 3.30 do not know and do not keep. They behave as with 0: no limits and no jitter."""


def differences(declared: TaskDef, registered: TaskDef | None) -> list[str]:
    """The lines of a unified diff from the registered to the declared TaskDef; empty if they agree."""
    name = str(declared.get("name"))
    old = [] if registered is None else _lines(_comparable(registered, declared))
    new = _lines(_comparable(declared, declared))
    return list(difflib.unified_diff(old, new, f"{name} (registered)", f"{name} (declared)", lineterm="", n=2))


def with_kept(declared: TaskDef, registered: TaskDef | None) -> dict[str, Any]:
    """The TaskDef to register: the declaration, plus registered fields that Perago never declares, such as an
    `inputTemplate`."""
    said = {*declared, *OPTIONAL_DEFAULTS}
    return {**{name: value for name, value in (registered or {}).items() if name not in said}, **declared}


def _comparable(taskdef: TaskDef, declared: TaskDef) -> dict[str, Any]:
    names = [*declared, *(name for name in OPTIONAL_DEFAULTS if name not in declared)]
    values = {name: taskdef.get(name, OPTIONAL_DEFAULTS.get(name)) for name in names}
    values |= {name: 0 for name in YOUNGER_FIELDS if name in values and values[name] is None}
    return {
        name: _schema(value) if name in ("inputSchema", "outputSchema") else value
        for name, value in values.items()
        if not (name in OPTIONAL_DEFAULTS and _is_default(name, value))
    }


def _is_default(name: str, value: object) -> bool:
    return value in (None, OPTIONAL_DEFAULTS[name]) or (name != "description" and value == 0)


def _schema(value: Any) -> Any:
    """The schema without the fields that the server adds."""
    if not isinstance(value, Mapping):
        return value
    return {name: value.get(name) for name in ("name", "version", "type", "data")}


def _lines(value: Mapping[str, Any]) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
