from __future__ import annotations

import pytest

from perago.values.trace_context import TraceContext, trace_context_of, without_trace

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_is_taken_with_its_state_and_becomes_variables():
    found = trace_context_of({"traceparent": PARENT, "tracestate": "a=1", "params": {}})
    assert found == TraceContext(PARENT, "a=1")
    assert found.as_environment() == {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}


@pytest.mark.parametrize("parent", [PARENT.replace("00-", "cc-", 1), PARENT.replace("00-", "cc-", 1) + "-later"])
def test_a_later_version_is_taken_as_the_standard_has_it(parent):
    assert trace_context_of({"traceparent": parent}) == TraceContext(parent)


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        7,
        {},
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        PARENT.upper(),
        PARENT + "-more",
        PARENT + "\n",
        PARENT.replace("00-", "ff-", 1),
        PARENT[:-1],
    ],
)
def test_what_is_none_is_passed_over(parent):
    assert trace_context_of({"traceparent": parent, "tracestate": "a=1"}) is None


@pytest.mark.parametrize("state", [None, 7, "ü=1", "a=1\nTRACEPARENT=x", "a=" + "x" * 600])
def test_a_state_that_cannot_be_passed_on_is_dropped_alone(state):
    assert trace_context_of({"traceparent": PARENT, "tracestate": state}) == TraceContext(PARENT)


def test_an_attempts_input_has_no_trace():
    assert without_trace({"traceparent": PARENT, "tracestate": None, "params": {"a": 1}}) == {"params": {"a": 1}}
