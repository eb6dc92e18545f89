"""Reading JSON faster must read it alike."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.values.json_text import parse_json, printable_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def read_alike(text):
    """Where the standard library refuses a text, so do we; else the values are the same, to the type of each part."""
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)
    else:
        assert repr(parse_json(text)) == repr(expected)


@given(VALUES, st.booleans())
def test_what_was_written_is_read(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")) == value


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_read_as_the_standard_library_reads_them(data):
    read_alike(data)


@pytest.mark.parametrize(
    "text",
    [
        '"\\ud83d"',  # half of a surrogate pair
        "[" * 500 + "]" * 500,
        '{"a": 1, "a": 2}',
        "1e400",
        "-0.0",
        str(10**400),
        '\ufeff""'.encode("utf-16").decode("utf-16"),
    ],
)
def test_odd_texts_are_read_as_the_standard_library_reads_them(text):
    read_alike(text)


def test_what_is_no_number_is_read_as_that():
    assert math.isnan(parse_json("NaN"))


def test_what_nests_too_deeply_is_an_error_of_its_own():
    with pytest.raises(RecursionError):
        parse_json("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("indent", [None, 2])
@given(VALUES)
def test_a_printable_text_has_the_same_value_and_no_control_character(indent, value):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    printable = printable_json(text)
    assert repr(json.loads(printable)) == repr(json.loads(text))
    assert [char for char in printable if not char.isprintable() and char != "\n"] == []


def test_letters_of_any_script_stay_as_they_are():
    assert printable_json('"größe 大きさ"') == '"größe 大きさ"'
