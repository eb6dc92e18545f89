"""The trace that an attempt belongs to, in W3C Trace Context: <https://www.w3.org/TR/trace-context/>."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRACE_FIELDS = frozenset({"traceparent", "tracestate"})
"""Top-level fields of a task's input that carry a trace; see docs/adr/0020."""

MAX_TRACESTATE_LENGTH = 512
"""Characters that the standard requires to be passed on; a longer tracestate is dropped."""

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-[!-~]*)?"
)


@dataclass(frozen=True)
class TraceContext:
    """A position in a trace, in the form that travels between systems.

    Attributes:
        traceparent: `00-<trace id>-<span id>-<flags>`.
        tracestate: additions of tracing systems; "" if there are none.
    """

    traceparent: str
    tracestate: str = ""

    def as_environment(self) -> dict[str, str]:
        """The environment variables that pass a trace to a program."""
        found = {"TRACEPARENT": self.traceparent}
        return {**found, "TRACESTATE": self.tracestate} if self.tracestate else found


def trace_context_of(fields: Mapping[str, Any]) -> TraceContext | None:
    """The trace in `traceparent` and `tracestate`; None if it is missing or malformed.

    A malformed trace is ignored, as the standard says, because it must not fail the work.
    """
    parent, state = fields.get("traceparent"), fields.get("tracestate")
    if not isinstance(parent, str) or not _is_sound(parent):
        return None
    return TraceContext(parent, state if isinstance(state, str) and _may_pass(state) else "")


def _may_pass(state: str) -> bool:
    return len(state) <= MAX_TRACESTATE_LENGTH and state.isascii() and state.isprintable()


def _is_sound(parent: str) -> bool:
    match = _TRACEPARENT.fullmatch(parent)
    if match is None or match["version"] == "ff" or (match["version"] == "00" and match["more"]):
        return False
    return bool(match["trace"].strip("0") and match["span"].strip("0"))


def without_trace(input_data: Mapping[str, Any]) -> dict[str, Any]:
    """A task's input without the fields that carry a trace."""
    return {name: value for name, value in input_data.items() if name not in TRACE_FIELDS}
