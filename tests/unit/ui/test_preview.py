"""Previews: what a content is shown as, its bounds, and the process that reads it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib

import psutil
import pytest

from landlock import needs_landlock
from perago.ui.preview import make
from perago.ui.preview.content import (
    BINS,
    MAX_COLUMNS,
    MAX_LINE,
    MAX_LINES,
    MAX_NODES,
    MAX_ROWS,
    described,
    histogram,
)
from perago.ui.preview.make import Preview, png_of, preview_of, thumbnail_of
from waiting import wait_for


def test_a_text_has_its_first_lines():
    found = described("a.txt", "\ufeffone\r\ntwo\n".encode())
    assert found == {"kind": "text", "lines": ["one", "two", ""], "is_cut": False}


def test_a_long_text_is_cut():
    found = described("a.md", ("x" * (MAX_LINE + 5) + "\n").encode() * (MAX_LINES + 5))
    assert found["is_cut"]
    assert (len(found["lines"]), {len(line) for line in found["lines"]}) == (MAX_LINES, {MAX_LINE})


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_text_is_binary(content):
    assert described("a.bin", content) == {"kind": "binary"}


@pytest.mark.parametrize("name", ["page.html", "image.svg", "notes.md", "script.js"])
def test_what_a_browser_would_run_is_text(name):
    assert described(name, b"<script>alert(1)</script>")["lines"] == ["<script>alert(1)</script>"]


def test_a_table_has_types_counts_and_a_histogram():
    text = "n,share,word,none\n1,0.5,a,\n2,,b,\n3,1.5,a,\n"
    columns = {column["name"]: column for column in described("a.csv", text.encode())["columns"]}
    assert {name: column["type"] for name, column in columns.items()} == {
        "n": "whole number",
        "share": "number",
        "word": "text",
        "none": "empty",
    }
    assert (columns["share"]["empty"], columns["word"]["distinct"], columns["n"]["mean"]) == (1, 2, 2.0)
    assert sum(columns["n"]["histogram"]) == 3


def test_a_large_table_is_cut_and_counted():
    text = "\n".join([",".join(f"c{n}" for n in range(60)), *(",".join("1" * 60) for _ in range(80))])
    found = described("a.csv", text.encode())
    assert (len(found["rows"]), len(found["rows"][0]), len(found["columns"])) == (MAX_ROWS, MAX_COLUMNS, MAX_COLUMNS)
    assert (found["row_count"], found["column_count"]) == (80, 60)


@pytest.mark.parametrize("text", ["", '"' + "x" * 200_000])
def test_what_is_no_table_is_text(text):
    assert described("a.csv", text.encode())["kind"] == "text"


def test_all_numbers_are_in_a_histogram():
    assert histogram([1, 1, 1], 1, 1) == [3] + [0] * (BINS - 1)
    assert sum(histogram([0, 5, 10], 0, 10)) == 3
    assert sum(described("a.csv", b"n\n1e308\n-1e308\nnan\n")["columns"][0]["histogram"]) == 0


def nodes_in(node):
    return 1 + sum(map(nodes_in, node["parts"]))


def test_a_json_document_is_a_tree_with_bounds():
    found = described("a.json", json.dumps({"a": [1, None], "b": "x"}).encode())["tree"]
    assert [(part["label"], part["value"], part["count"]) for part in found["parts"]] == [
        ("a", "list", 2),
        ("b", '"x"', None),
    ]
    large = described("a.json", json.dumps(list(range(5_000))).encode())
    assert (nodes_in(large["tree"]), large["is_cut"]) == (MAX_NODES, True)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "nan", "NaN x"])
def test_what_is_no_json_is_text(text):
    assert described("a.json", text.encode())["kind"] == "text"


# ---------------------------------------------------------------- the process


def test_a_child_makes_it():
    made = preview_of("a.csv", b"n\n1\n")
    assert (made.kind, made.rows, made.columns[0].name) == ("table", [["1"]], "n")


@pytest.mark.parametrize("name", ["", "a\nb", "\udcff.csv", "--help", "a" * 4_000 + ".csv"])
def test_a_name_is_only_a_name(name):
    assert preview_of(name, b"n\n1\n").kind in ("text", "table")


def child_says(monkeypatch, program):
    """Previews are made by another program."""
    real = subprocess.Popen
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda _command, **options: real([sys.executable, "-c", program], **options))
        return preview_of("a.txt", b"content")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "{}",
        "null",
        '{"kind": "other"}',
        '{"kind": "text", "lines": [1]}',
        '{"kind": "text", "more": 1}',
        json.dumps({"kind": "text", "lines": ["x" * (MAX_LINE + 1)]}),
        json.dumps({"kind": "text", "lines": ["x"] * (MAX_LINES + 1)}),
        '{"kind": "table", "columns": [{"name": "a", "type": "b", "is_number": true, "histogram": [1e999]}]}',
    ],
)
def test_what_a_child_says_is_believed_in_form_only(monkeypatch, said):
    assert child_says(monkeypatch, f"print({said!r})") == Preview(kind="failed")


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import os; os.abort()", "1/0"])
def test_a_child_that_fails_is_said(monkeypatch, program):
    assert child_says(monkeypatch, program).kind == "failed"


def test_a_child_that_takes_too_long_is_ended_with_all_it_started(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "SECONDS", 1.0)
    alive = tmp_path / "alive"
    program = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {str(alive)!r}])\n"
        "time.sleep(600)"
    )
    assert child_says(monkeypatch, program).kind == "failed"

    def left():
        return [one for one in psutil.process_iter(["cmdline"]) if str(alive) in (one.info["cmdline"] or [])]

    wait_for(lambda: not left(), "what it started to end")


CONFINED = "from perago.ui.preview.child import confine; confine(); "


def confined(program):
    """Runs a program as the child is confined; returns what it printed."""
    ran = subprocess.run(
        [sys.executable, "-c", CONFINED + program], capture_output=True, text=True, timeout=60, check=False
    )
    return ran.returncode, ran.stdout.strip(), ran.stderr


def test_a_child_has_bounds():
    code, _, said = confined("x = bytearray(3 * 1024**3)")
    assert code == 1
    assert "MemoryError" in said
    code, _, _ = confined("\nwhile True: pass")
    assert code < 0


@needs_landlock
def test_a_child_reaches_neither_files_nor_the_network(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    for program in (
        f"open({str(secret)!r})",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        "open('/etc/passwd')",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
    ):
        code, _, said = confined(program)
        assert code == 1
        assert "PermissionError" in said, program


def test_a_child_has_none_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PERAGO_TEST_KEY", "hidden")
    program = "import json, os; print(json.dumps({'kind': 'text', 'lines': sorted(os.environ)}))"
    assert "PERAGO_TEST_KEY" not in child_says(monkeypatch, program).lines


# ---------------------------------------------------------------- images


def test_a_png_is_made_of_pixels():
    made = png_of(2, 1, b"\xff\x00\x00\x00\xff\x00")
    assert made[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", made[16:24]) == (2, 1)
    at = made.index(b"IDAT")
    length = struct.unpack(">I", made[at - 4 : at])[0]
    assert zlib.decompress(made[at + 4 : at + 4 + length]) == b"\0\xff\x00\x00\x00\xff\x00"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x89PNG",
        struct.pack(">II", 0, 0),
        struct.pack(">II", 1, 1) + b"ab",
        struct.pack(">II", 5000, 1) + b"a" * 15000,
    ],
)
def test_pixels_that_are_none_are_no_image(monkeypatch, said):
    monkeypatch.setattr(make, "_said", lambda *_: said)
    assert thumbnail_of("a.png", b"") is None
