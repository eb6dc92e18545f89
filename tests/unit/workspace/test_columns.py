"""Records as columns: what is written comes back, and damage does not."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.workspace.columns import decode, encode, text_column, texts_of

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


def written(texts, numbers=b"\1\2"):
    return b"".join(encode("test-1", [len(texts), "a fact"], [text_column(texts), numbers]))


@given(st.lists(TEXT), st.binary())
def test_what_is_written_comes_back(texts, numbers):
    (count, fact), (column, other) = decode("test-1", io.BytesIO(written(texts, numbers)))
    assert (texts_of(column, count), other, fact) == (texts, numbers, "a fact")


def test_names_of_files_that_are_not_utf_8_come_back():
    assert texts_of(text_column(["a\udcff"]), 1) == ["a\udcff"]


@given(st.data())
def test_any_change_of_a_byte_is_noticed(data):
    whole = bytearray(written(["first", "second"]))
    at = data.draw(st.integers(whole.index(b"\n") + 1, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError):
        decode("test-1", io.BytesIO(whole))


@given(st.binary())
def test_anything_else_is_refused(content):
    with pytest.raises((ValueError, TypeError, OverflowError, RecursionError)):
        decode("test-1", io.BytesIO(content))


@given(st.integers(0, 200))
def test_a_part_is_refused(length):
    whole = written(["first", "second"])
    with pytest.raises((ValueError, TypeError)):
        decode("test-1", io.BytesIO(whole[: min(length, len(whole) - 1)]))


def test_another_version_is_refused():
    with pytest.raises(ValueError):
        decode("test-2", io.BytesIO(written(["first"])))


def test_a_text_with_the_separator_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        text_column(["a\0b"])
    with pytest.raises(ValueError, match="2 texts, not 3"):
        texts_of(text_column(["a", "b"]), 3)
