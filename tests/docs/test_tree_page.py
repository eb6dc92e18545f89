"""docs/tree.md: what a terminal of 80 columns shows of a workflow, while it runs and at its end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import tempfile
import termios
from pathlib import Path

import pytest

from pages import PROJECT, Command, blocks, commands, environment
from screens import screens

PAGE = PROJECT / "docs" / "tree.md"
COLUMNS = 80
CUT = 50
"""Columns of a cut row that are compared: where it is cut depends on the width of the times."""

_VARIES = {
    r"\d{8}-\d{6}-[a-z0-9]{6}": "RUN",
    r"\d+(\.\d)? s\b": "TIME",
    r"\(at \S+:\d+ in (\w+)\)": r"(at LINE in \1)",
}


def comparable(screen: str) -> str:
    """A screen without what varies: times, ids, places in files, and where lines are broken."""
    lines = [" ".join(line.split()) for line in screen.splitlines()]
    for pattern, name in _VARIES.items():
        lines = [re.sub(pattern, name, line) for line in lines]
    text = " ".join(f"{line[:CUT]}…" if line.endswith("…") else line for line in lines if line)
    return re.sub(*next(reversed(_VARIES.items())), text)


@pytest.fixture
def on_terminal(tmp_path):
    """Runs a command of the page on a terminal; returns the screens. No path is too long for a line."""
    with tempfile.TemporaryDirectory() as directory:
        (block,) = blocks(PAGE, "python")
        (Path(directory) / str(block.name)).write_text(block.text, encoding="utf-8")
        yield runner(directory, tmp_path)


def runner(directory, home):

    def run(command: Command) -> list[str]:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
        with subprocess.Popen(
            shlex.split(command.line),
            cwd=directory,
            env=environment(home, TERM="xterm-256color"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ):
            os.close(theirs)
            shown = b""
            try:
                while data := os.read(ours, 65536):
                    shown += data
            except OSError:  # how Linux says that the other side was closed
                pass
            os.close(ours)
        return screens(shown.decode())

    return run


def test_the_page_shows_the_tree_as_it_is(on_terminal):
    (under_way,) = blocks(PAGE, "text")
    done, failed = (command for block in blocks(PAGE, "console") for command in commands(block))
    seen = on_terminal(done)
    assert comparable(seen[-1]) == comparable(done.shown), seen[-1]
    assert comparable(under_way.text) in {comparable(screen) for screen in seen}, "\n".join(dict.fromkeys(seen))
    last = on_terminal(failed)[-1]
    assert comparable(last) == comparable(failed.shown), last


def test_no_line_of_the_page_is_wider_than_the_terminal():
    shown = [block.text for block in blocks(PAGE, "text", "console")]
    assert max(len(line) for text in shown for line in text.splitlines()) <= COLUMNS
