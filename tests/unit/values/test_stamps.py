"""Stamps survive being written as pairs, and nothing else is taken for one."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.values.history import Stamp
from perago.values.stamps import MAX_STORED_BYTES, from_pairs, json_digest, storable, to_pairs

STAMP = Stamp(
    task="features.build",
    workflow_instance_id="wf-1",
    reference_task_name="build",
    task_id="t-1",
    retry_count=0,
    scheduled_time=1_700_000_000_000,
    poll_count=1,
    execution_id="e-1",
    input_ref="a" * 40,
    expected_head="b" * 40,
    params_digest="sha256:00",
    code_digest="sha256:01",
    result_digest="sha256:02",
    params={"x": 1},
    result={"y": "ü\n"},
    result_exact=True,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), json_values, max_size=3)
texts = st.text(max_size=30)
hex_ids = st.text("0123456789abcdef", min_size=40, max_size=40)


@given(
    task=texts,
    workflow=texts,
    scheduled=st.none() | st.integers(),
    params=st.none() | objects,
    result=st.none() | objects,
    abandoned=st.lists(hex_ids, max_size=3),
    completes=st.none() | hex_ids,
    exact=st.booleans(),
    path=st.none() | texts,
    dirty=st.none() | st.booleans(),
)
def test_what_is_written_is_read_back(
    task, workflow, scheduled, params, result, abandoned, completes, exact, path, dirty
):
    stamp = replace(
        STAMP,
        root_workflow_id=None if path is None else workflow,
        path=path,
        task=task,
        workflow_instance_id=workflow,
        scheduled_time=scheduled,
        params=params,
        result=result,
        abandoned=tuple(abandoned),
        completes=completes,
        result_exact=exact,
        code_commit=None if dirty is None else "c" * 40,
        code_dirty=dirty,
        workflow_params=params,
        workflow_params_digest=None if params is None else json_digest(params),
    )
    pairs = to_pairs(stamp)
    assert all(value == value.strip() and value.isprintable() for value in pairs.values())
    assert from_pairs(pairs) == stamp


@pytest.mark.parametrize("name", ["task", "task-id", "execution-id", "input-ref", "code-digest", "retry-count"])
def test_a_stamp_that_lacks_a_field_is_none(name):
    pairs = to_pairs(STAMP)
    del pairs[name]
    assert from_pairs(pairs) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("retry-count", "one"),
        ("scheduled-time", ""),
        ("result", "[1]"),
        ("result", "{"),
        ("result", "[" * 5_000),
        ("params", "null"),
        ("result-exact", "yes"),
        ("task", '"unclosed'),
    ],
)
def test_a_stamp_with_an_unreadable_field_is_none(name, text):
    assert from_pairs({**to_pairs(STAMP), name: text}) is None


def test_a_stamp_of_a_task_in_a_sub_workflow_says_its_root_and_path():
    pairs = to_pairs(STAMP)
    assert not {"root-workflow-id", "path"} & pairs.keys()
    assert from_pairs(pairs).logical_task == (STAMP.workflow_instance_id, STAMP.reference_task_name)
    within = to_pairs(STAMP.in_tree(("root", "train/fit")))
    assert {**within, "root-workflow-id": "root", "path": "train/fit"} == within
    assert {name: value for name, value in within.items() if name in pairs} == pairs
    assert from_pairs(within).logical_task == ("root", "train/fit")


def test_names_of_a_later_version_are_passed_over():
    assert from_pairs({**to_pairs(STAMP), "colour": "blue"}) == STAMP


def test_secret_fields_are_masked_and_make_the_result_inexact():
    kept, exact = storable({"rows": 3, "db_password": "hunter2", "inner": [{"apiKey": "k"}]})
    assert "hunter2" not in json.dumps(kept)
    assert kept == {"rows": 3, "db_password": "**********", "inner": [{"apiKey": "**********"}]}
    assert not exact


def test_counts_of_tokens_are_no_secret():
    assert storable({"tokens": 12, "max_tokens": "many"}) == ({"tokens": 12, "max_tokens": "many"}, True)


def test_the_password_of_a_url_is_masked_wherever_it_stands():
    kept, exact = storable({"source": "postgres://me:hunter2@db/x"})
    assert kept == {"source": "postgres://**********@db/x"}
    assert not exact


def test_an_object_over_16_kib_is_left_out():
    limit = MAX_STORED_BYTES - len('{"a":""}')
    assert storable({"a": "x" * limit}) == ({"a": "x" * limit}, True)
    assert storable({"a": "x" * (limit + 1)}) == (None, False)


@pytest.mark.parametrize("letter", ["é", "語", "😀", '"'])
def test_the_16_kib_are_those_of_utf_8_as_they_are_written(letter):
    size = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    text = letter * ((MAX_STORED_BYTES - len('{"a":""}')) // size)
    result, exact = storable({"a": text})
    assert (result, exact) == ({"a": text}, True)
    line = to_pairs(replace(STAMP, result=result))["result"]
    assert MAX_STORED_BYTES - 4 <= len(line.encode()) <= MAX_STORED_BYTES
    assert storable({"a": text + letter}) == (None, False)


@pytest.mark.parametrize("text", ["\ud800", "a\u2028b", "\x7f\u0085", "\u202e\u3000"])
def test_what_does_not_print_is_escaped_on_its_line_and_comes_back(text):
    kept, _ = storable({"a": text})
    line = to_pairs(replace(STAMP, params=kept))["params"]
    assert line.isprintable()
    assert json.loads(line) == {"a": text}


def test_the_digest_is_that_of_the_escaped_form():
    assert json_digest({"a": "ü"}) == "sha256:" + hashlib.sha256(b'{"a":"\\u00fc"}').hexdigest()


def test_the_digest_does_not_depend_on_the_order_of_keys():
    assert json_digest({"a": 1, "b": [2]}) == json_digest({"b": [2], "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})
