"""What is shown of an attempt's phases."""

from __future__ import annotations

import pytest

from perago.cli.progress import LineDisplay
from perago.ports import Event, Phase
from perago.running.progress import describe, describe_progress
from perago.running.text import printable, shorten, size_text


def event(phase, kind="completed", seconds=2.0, error=None, **attributes):
    return Event(phase=phase, kind=kind, seconds=seconds, attributes=attributes, error=error)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (event(Phase.MATERIALIZE, files=3, bytes=4 * 1024**2), "materialize: 3 files, 4.0 MB in 2.0 s, 2.0 MB/s"),
        (event(Phase.MATERIALIZE, files=1, bytes=0), "materialize: 1 file, 0 B in 2.0 s"),
        (event(Phase.MATERIALIZE), None),
        (event(Phase.BODY, "started"), "body: running"),
        (event(Phase.BODY), "body: done in 2.0 s"),
        (event(Phase.BODY, "failed"), "body: failed after 2.0 s"),
        (event(Phase.DIFF, added=1, modified=0, deleted=2), "diff: 1 added, 2 deleted"),
        (event(Phase.DIFF, added=0, modified=0, deleted=0), "diff: nothing changed"),
        (event(Phase.PUBLISH, ref="a" * 40), "publish: commit aaaaaaaaaaaa"),
        (event(Phase.PUBLISH, "lost"), "publish: another writer was faster; trying again"),
        (event(Phase.CLEAN), None),
        (event(Phase.FENCE), None),
    ],
)
def test_a_phase_is_worth_one_line_or_none(shown, expected):
    assert describe(shown, {}) == expected


@pytest.mark.parametrize("phase", Phase)
def test_each_phase_has_a_line_or_is_known_to_have_none(phase):
    line = describe(event(phase), {})
    assert line is None or line.startswith(phase.value)


def test_what_a_store_told_last_stands_in_the_line_of_its_phase():
    assert (
        describe(event(Phase.STAGE, staged="x"), {"files": 2, "bytes": 20}) == "stage: 2 files, 20 B in 2.0 s, 10 B/s"
    )


def test_a_failure_to_clean_is_a_warning_without_secrets():
    text = describe(event(Phase.CLEAN, "failed", error=OSError("password=hunter2"), what="directory"), {})
    assert text.startswith("warning: the directory could not be removed")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"files": 5, "bytes": 2048, "total_files": 10}, "5 of 10 files, 2.0 KB, 1.0 KB/s"),
        ({"files": 1, "bytes": 0, "total_files": 0}, "1 file, 0 B"),
        ({"done": 3, "total": 10, "message": "fold \x1b[2J"}, "3 of 10, fold \\x1b[2J"),
        ({"done": 0.5, "total": None, "message": None}, "0.5"),
        ({}, ""),
    ],
)
def test_progress_in_words(attributes, expected):
    assert describe_progress(event(Phase.BODY, "progress", **attributes)) == expected


def test_lines_about_progress_are_far_apart(capsys):
    display = LineDisplay()
    display(event(Phase.STAGE, "started", seconds=0))
    for second in range(35):
        display(event(Phase.STAGE, "progress", seconds=second, files=second, bytes=0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["stage: 10 files, 0 B", "stage: 20 files, 0 B", "stage: 30 files, 0 B"]


def test_texts_of_others_cannot_steer_a_terminal():
    assert printable("plain ä\n\x1b]0;x\x07\u202e") == "plain ä\\n\\x1b]0;x\\x07\\u202e"


def test_sizes_and_long_lines_are_made_to_fit():
    assert [size_text(size) for size in (0, 1023, 1024, 1536, 5 * 1024**3, 3 * 1024**4)] == [
        "0 B",
        "1023 B",
        "1.0 KB",
        "1.5 KB",
        "5.0 GB",
        "3.0 TB",
    ]
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcdef", None) == "abcdef"
