from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perago.worker.process.messages import (
    FROM_BODY,
    MAX_MESSAGE_BYTES,
    MAX_TEXT_LENGTH,
    Decoder,
    Log,
    Progress,
    Result,
    clean_text,
    encode,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=4), st.data())
def test_what_is_encoded_comes_out_however_the_stream_is_cut(results, data):
    stream = b"".join(encode(Result(result=result)) for result in results)
    decoder = Decoder()
    received = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]
    assert [FROM_BODY.validate_python(value) for value in received] == [Result(result=result) for result in results]


def test_numbers_stay_what_they_are():
    (value,) = Decoder().feed(encode(Progress(done=3, total=None)))
    assert repr(FROM_BODY.validate_python(value).done) == "3"


def test_a_message_announced_larger_than_the_bound_is_refused_before_it_is_taken():
    with pytest.raises(ValueError, match="the limit is"):
        list(Decoder().feed(struct.pack(">I", MAX_MESSAGE_BYTES + 1)))


def test_a_message_larger_than_the_bound_is_not_encoded():
    with pytest.raises(ValueError, match="into files of the workspace"):
        encode(Result(result={"value": "x" * MAX_MESSAGE_BYTES}))


def test_what_is_no_json_is_not_encoded():
    with pytest.raises(ValueError, match="not JSON serializable"):
        encode(Result(result={"value": object()}))


def test_endless_nesting_is_refused_on_both_sides():
    nested: list[object] = []
    nested.append(nested)
    with pytest.raises(ValueError, match=r"nest|[Cc]ircular"):
        encode(Result(result={"value": nested}))
    payload = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(ValueError, match="nested"):
        list(Decoder().feed(struct.pack(">I", len(payload)) + payload))


def test_bytes_that_are_no_json_are_refused():
    with pytest.raises(ValueError, match="Expecting value"):
        list(Decoder().feed(struct.pack(">I", 3) + b"abc"))


def test_text_of_any_kind_can_be_sent_and_its_end_is_kept():
    text = clean_text("\udcff" + "a" * MAX_TEXT_LENGTH + "end")
    assert len(text) == MAX_TEXT_LENGTH
    assert text.endswith("end")
    assert clean_text("caf\udce9") == "caf\\udce9"
    encode(Log(logger="", level=10, text=clean_text("\udcff"), created=0.0))
