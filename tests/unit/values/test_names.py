"""The judge of object names: what a lakeFS repository can hold, and a workspace may not."""

from __future__ import annotations

import string
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perago.errors import ObjectNameError
from perago.values.names import (
    MAX_SHOWN_CHARACTERS,
    Folding,
    check_git_name,
    check_object_name,
    check_object_names,
    name_fault,
    show_name,
)

REFUSED = {
    "../x": "'..'",
    "a/../../x": "'..'",
    "a/..": "'..'",
    ".": "'.'",
    "..": "'..'",
    "./a": "'.'",
    "a/./b": "'.'",
    "a/.": "'.'",
    "//x": "starts with '/'",
    "/abs": "starts with '/'",
    "/": "starts with '/'",
    "a//b": "segment ''",
    "dir/": "ends with '/'",
    "": "empty",
    "a\\b": "backslash",
    "..\\x": "backslash",
    "C:\\": "backslash",
    "C:": "drive",
    "c:/x": "drive",
    "a\0b": "NUL",
    "a\nb": "line break",
    "a\rb": "line break",
    "a\x85b": "line break",
    "a\u2028b": "line break",
    "a\u2029b": "line break",
    "a\tb": "control",
    "a\x1b[31mb": "control",
    "a\x7fb": "control",
    "a\x9bb": "control",
    "a\u202egpj.exe": "bidirectional",
    "a\u2066b": "bidirectional",
    "a\u2069b": "bidirectional",
    "a\u200eb": "bidirectional",
    "a\u200fb": "bidirectional",
    "a\u061cb": "bidirectional",
    "a\ufffdb": "U+FFFD",
    "caf\udce9": "UTF-8",
    "\ud800": "UTF-8",
    "x" * 256: "256 bytes",
    "é" * 128: "256 bytes",
    "d/" + "x" * 256 + "/f": "256 bytes",
    "/".join(["x" * 200] * 6): "1205 bytes",
    "x/" * 512 + "x": "1025 bytes",
}

TAKEN = [
    "a",
    "a/b/c.txt",
    ".hidden",
    "...",
    "a/..b/c..",
    ".gitignore",
    "with space/and more.csv",
    "données/ä.txt",
    "日本語/ファイル.txt",
    "emoji-🎉.txt",
    "e\u0301.txt",
    "x" * 255,
    "é" * 127,
    "/".join(["x" * 204] * 5),
    "ab:c",
    "1:2",
    "a/C:/x",
    "~",
    "-rf",
    "a*?[b]",
    "year=2024/month=01",
]


@pytest.mark.parametrize(("name", "fault"), REFUSED.items(), ids=[ascii(name)[:30] for name in REFUSED])
def test_a_hostile_name_is_refused_with_its_fault(name, fault):
    with pytest.raises(ObjectNameError) as refused:
        check_object_name(name)
    message = str(refused.value)
    assert fault in message
    assert "exclude" in message  # what to do
    assert message.isascii()
    assert message.isprintable()


@pytest.mark.parametrize("name", TAKEN, ids=[ascii(name)[:30] for name in TAKEN])
def test_an_honest_name_is_taken(name):
    assert check_object_name(name) is None
    assert check_object_names([name]) is None


@given(st.text(max_size=2000))
@example("\x00" * 500)
@example("é" * 1000)
def test_a_name_is_shown_in_ascii_and_cut(name):
    shown = show_name(name)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= MAX_SHOWN_CHARACTERS
    if len(ascii(name)) <= MAX_SHOWN_CHARACTERS:
        assert shown == ascii(name)


def naive_verdict(name: str) -> bool:
    """Character by character, as the rules are written down."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return False
    bidi = {0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    for character in name:
        code = ord(character)
        control = unicodedata.category(character) == "Cc"
        if control or code in bidi or code in (0xFFFD, 0x2028, 0x2029) or character == "\\":
            return False
    segments = name.split("/")
    drive = len(name) > 1 and name[0] in string.ascii_letters and name[1] == ":"
    return (
        bool(name)
        and not drive
        and len(encoded) <= 1024
        and all(segment not in ("", ".", "..") and len(segment.encode()) <= 255 for segment in segments)
    )


hostile_text = st.text(
    st.one_of(st.sampled_from("/..ab:C\\\0\n\x7f\x85\u202e\u2029\ufffd\udcffé"), st.characters(exclude_categories=[])),
    max_size=12,
)
long_text = st.builds(
    lambda segment, count, last: "/".join([segment] * count + [last]),
    st.sampled_from(["x" * 255, "é" * 60, "x" * 254, "y"]),
    st.integers(1, 9),
    st.text("xé", max_size=260),
)


@given(st.one_of(hostile_text, long_text))
@example("a" * 1024)
@example("a/" + "b" * 255)
def test_the_judge_agrees_with_the_rules_written_out(name):
    assert (name_fault(name) is None) == naive_verdict(name)


def test_a_hundred_thousand_names_take_no_time_to_speak_of():
    names = [f"data/year={index % 40}/part-{index:06d}.parquet" for index in range(100_000)]
    started = time.process_time()
    check_object_names(names, Folding(case=True, unicode=True))
    assert time.process_time() - started < 1.0


# ---------------------------------------------------------------- names together


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a", "b", "a"], ["'a'", "twice"]),
        (["dir", "dir/child"], ["'dir'", "'dir/child'"]),
        (["a/b/c/d", "x", "a/b"], ["'a/b'", "'a/b/c/d'"]),
        (["ok", "a/../b"], ["'a/../b'"]),
    ],
)
def test_names_that_cannot_lie_together_are_refused(names, shown):
    for order in (names, names[::-1]):
        with pytest.raises(ObjectNameError) as refused:
            check_object_names(iter(order))
        assert all(part in str(refused.value) for part in shown)


def test_names_are_checked_for_where_they_go():
    check_object_names(["a", "d/.git/config"])
    with pytest.raises(ObjectNameError, match=r"d/\.git/config.*git trees cannot hold"):
        check_object_names(["a", "d/.git/config"], check=check_git_name)


@pytest.mark.parametrize(
    "names", [[], ["dir-x", "dir/child", "dir.txt"], ["a/b", "a/c", "b/b"], ["A", "a"], ["é", "e\u0301"]]
)
def test_names_that_can_lie_together_are_taken(names):
    assert check_object_names(names) is None


CASE_CLASHES = [["a.txt", "A.txt"], ["A/x", "a/y"], ["A", "a/x"], ["Straße", "STRASSE"], ["d/É", "d/é"]]
UNICODE_CLASHES = [["\u00e9", "e\u0301"], ["\u00e9/x", "e\u0301/y"], ["\u212b", "\u00c5"]]


@pytest.mark.parametrize("names", CASE_CLASHES)
def test_names_that_differ_in_case_clash_only_where_case_folds(names):
    check_object_names(names, Folding(unicode=True))
    with pytest.raises(ObjectNameError, match="upper and lower case"):
        check_object_names(names, Folding(case=True))


@pytest.mark.parametrize("names", UNICODE_CLASHES)
def test_names_that_differ_in_composition_clash_only_where_unicode_folds(names):
    check_object_names(names, Folding(case=True) if names[0] != "\u212b" else Folding())
    with pytest.raises(ObjectNameError, match="composed and decomposed"):
        check_object_names(names, Folding(unicode=True))


@pytest.mark.parametrize("names", [*CASE_CLASHES, *UNICODE_CLASHES, ["\u00c9", "e\u0301"]])
def test_all_clash_where_both_fold(names):
    with pytest.raises(ObjectNameError, match="same name"):
        check_object_names(names, Folding(case=True, unicode=True))


def test_folding_does_not_refuse_what_differs_otherwise():
    names = ["a/x", "a/y", "b/x", "é/x", "è/x"]
    assert check_object_names(names, Folding(case=True, unicode=True)) is None
