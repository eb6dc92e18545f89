"""What others may send: JSON of any shape, texts with everything in them that hurts. Strategies of hypothesis."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

hunt = settings(
    deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
"""For every target; hypothesis's own number of examples."""


def check_told(error: BaseException, *parts: str, hidden: str | None = None) -> None:
    """An error says something, all the parts among it, and not what is hidden."""
    told = str(error)
    assert told
    assert all(part in told for part in parts), told
    assert hidden is None or hidden not in told


NASTY = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "a/../../x",
    "/abs",
    "//x",
    "a//b",
    "dir/",
    "dir",
    "dir/child",
    "C:\\x",
    "a\\b",
    "a\0b",
    "a\nb",
    "caf\u00e9",
    "cafe\u0301",
    "CAF\u00c9",
    "\u202egpj",
    "\ufffd",
    "\ud800",
    ".git",
    ".GIT/config",
    "git~1",
    "_lakefs_actions/x.yaml",
    "x" * 256,
    "x/" * 600 + "x",
    "${workflow.input}",
    "%2e%2e%2f",
    "null",
    "NaN",
]

texts = st.sampled_from(NASTY) | st.text(max_size=40) | st.text(st.characters(codec="utf-8"), max_size=40)
numbers = st.integers() | st.floats() | st.sampled_from([10**30, -1, 2**63, float("inf"), float("nan")])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
deep = st.builds(
    lambda depth, opening: opening * depth, st.sampled_from([10, 3_000, 100_000]), st.sampled_from(["[", '{"a":'])
)


def like(example: dict[str, object]) -> st.SearchStrategy[dict[str, object]]:
    """Objects with the fields of an example, some of them missing, some with anything in them, and strangers beside."""
    fields = {name: st.just(value) | values for name, value in example.items()}
    known = st.fixed_dictionaries({}, optional=fields)
    return st.builds(lambda known, more: {**more, **known}, known, st.dictionaries(texts, values, max_size=2))


def as_json(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[bytes]:
    """Values as bytes on a wire, now and then cut, nested beyond measure, or no JSON at all."""
    whole = strategy.map(lambda value: json.dumps(value).encode())
    cut = st.builds(lambda data, end: data[: end % (len(data) + 1)], whole, st.integers(0, 10_000))
    return whole | whole | cut | st.binary(max_size=200) | deep.map(str.encode)
