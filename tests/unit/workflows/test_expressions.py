"""Conductor's expressions: what is read, what is refused, and the values that they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago import WorkflowDefinitionError
from perago.workflows.expressions import Expression, expression, expressions_in, parse, replaced, value_at

DOCUMENT = {
    "clean": {"output": {"result": {"kept": 3, "names": ["a", "b"], "ok": True, "none": None, "odd name": 1}}},
    "workflow": {"input": {"x": 1.5}},
}


def look_up(found):
    return value_at(DOCUMENT, found.path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${clean.output.result.kept}", 3),
        ("${clean.output.result.names[1]}", "b"),
        ("${clean.output.result['odd name']}", 1),
        ("${clean.output.result}", DOCUMENT["clean"]["output"]["result"]),
        ("${workflow.input.x}", 1.5),
        ("${clean.output.missing.further}", None),
        ("${clean.output.result.names[7]}", None),
        ("${nobody.output}", None),
        ("kept ${clean.output.result.kept} of ${workflow.input.x}", "kept 3 of 1.5"),
        ("<${clean.output.result.ok}, ${clean.output.result.none}>", "<true, null>"),
        ("${clean.output.result.names}!", "[a, b]!"),
        ("$${clean.output}", "${clean.output}"),
        ("plain", "plain"),
        ({"a": ["${clean.output.result.kept}", {"b": 1}]}, {"a": [3, {"b": 1}]}),
    ],
)
def test_an_expression_becomes_its_value(text, value):
    assert replaced(text, look_up) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${clean.output.names[*]}", r"not understood at '\[\*\]'"),
        ("${clean..kept}", r"not understood at '\.\.kept'"),
        ("${clean.output.length()}", r"not understood at '\(\)'"),
        ("${}", "is empty"),
        ("${a${b}}", "an expression within another"),
        ("${a.b", "does not end"),
    ],
)
def test_what_is_no_path_is_refused_with_its_place(text, said):
    with pytest.raises(WorkflowDefinitionError, match=rf"tasks\[0\].x: .*{said}"):
        list(expressions_in({"tasks": [{"x": text}]}))


names = st.from_regex(r"[a-z_][a-z0-9_\-]{0,8}", fullmatch=True)
steps = st.lists(
    names | st.integers(0, 99) | st.text(st.characters(exclude_characters="'\"{}"), min_size=1), max_size=5
)


@given(names, steps)
def test_a_path_that_is_written_is_read_again(first, rest):
    text = expression(first, *rest)
    assert parse(text.removeprefix("${").removesuffix("}")) == Expression((first, *rest))
