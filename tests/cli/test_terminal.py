"""What a person sees on a terminal: real ones, wide and narrow, with colours and without."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

import pytest

from servers.machine import slowness

REPO = ("--repo", "data.git", "--branch", "main")
ESCAPE = "\x1b"


@pytest.fixture
def on_terminal(repository):
    """Run a command on a terminal of so many columns; returns its exit code, and what it shows."""

    def run(*arguments, columns=100, **environment):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = {"TERM": "xterm-256color", **environment}
        process = repository.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
        os.close(theirs)
        shown = _read_all(ours)
        os.close(ours)
        return process.wait(30 * slowness()), shown

    return run


def _read_all(descriptor, seconds=60):
    shown = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not select.select([descriptor], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # the other side was closed: how Linux says it
            break
        if not data:
            break
        shown += data
    return shown.decode()


def _lines(shown):
    return [line.rstrip("\r") for line in shown.split("\n")]


def _plain(shown):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_on_a_wide_terminal_progress_moves_and_lines_stay(on_terminal):
    code, shown = on_terminal("run", "cli_bodies:count", *REPO)
    assert code == 0
    assert ESCAPE in shown
    assert re.search(r"body .* (\d) of 3, step \1", _plain(shown))  # on a busy machine not each of them is drawn
    for line in ("materialize: 3 files, 14 B in", "body: done in", "diff: nothing changed", "printed by the body"):
        assert line in _plain(shown)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back


def test_a_body_that_says_nothing_has_the_terminal_to_itself(on_terminal):
    _, shown = on_terminal("run", "cli_bodies:write", *REPO)
    running, done = shown.index("body: running"), shown.index("body: done in")
    assert ESCAPE not in shown[running:done]


@pytest.mark.parametrize(
    "options", [{"columns": 40}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["narrow", "no colour", "dumb"]
)
def test_where_nothing_may_move_there_are_plain_lines(on_terminal, options):
    code, shown = on_terminal("run", "cli_bodies:count", *REPO, **options)
    assert code == 0
    assert ESCAPE not in shown
    assert "\r" not in shown.replace("\r\n", "")
    assert "body: done in" in shown


def test_on_a_narrow_terminal_lines_are_broken_at_words(on_terminal):
    code, shown = on_terminal("run", "cli_bodies:fail", "--param", "kind=link", *REPO, columns=40)
    assert code == 1
    long = [line for line in _lines(shown) if len(line) > 40]
    assert [line for line in long if "perago run --resume" not in line] == []  # a command is to be copied whole


def test_the_log_fits_a_narrow_terminal_and_is_whole_in_a_pipe(on_terminal, repository, perago):
    text = "x" * 200
    perago("run", "cli_bodies:write", "--param", f"text={text}", *REPO)
    _, shown = on_terminal("log", *REPO, columns=40)
    assert max(map(len, _lines(shown))) <= 40
    assert "…" in shown
    assert text in perago("log", *REPO).out


def test_names_of_others_cannot_steer_the_terminal(on_terminal, repository, perago):
    (repository.path / "source" / "c.txt").write_text("c")
    perago("import", "source", "--repo", "data.git", "-m", "evil \x1b]0;title\x07 \x1b[2J message")
    _, shown = on_terminal("log", *REPO)
    assert "evil \\x1b]0;title\\x07" in shown
    assert ESCAPE not in shown


@pytest.mark.parametrize("columns", [100, 40])
def test_what_a_body_raises_cannot_steer_the_terminal_and_keeps_its_lines(on_terminal, columns):
    kind = ("--param", "kind=bug")
    code, shown = on_terminal("run", "cli_bodies:fail", *kind, "--retries", "1", *REPO, columns=columns)
    assert code == 1
    assert shown.count("\\x1b]0;title\\x07") == 2  # of either try
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert any(line.startswith("on two lines") for line in _lines(shown))


def test_ctrl_c_typed_at_the_terminal_cancels(repository, tmp_path):
    ours, theirs = pty.openpty()
    params = ("--param", f"touch={tmp_path / 'there'}", "--param", f"wait_for={tmp_path / 'go'}")
    process = repository.start(
        "run",
        "cli_bodies:heed",
        *params,
        *REPO,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    repository.wait_for(tmp_path / "there")
    os.write(ours, b"\x03")
    shown = _read_all(ours)
    os.close(ours)
    assert process.wait(30 * slowness()) == 130
    assert (tmp_path / "go").read_text() == "heeded"
    assert "was cancelled" in shown


def test_a_workflow_is_a_tree_of_its_tasks(on_terminal):
    code, shown = on_terminal("run", "cli_workflow:plain", "--param", 'words=["a","b"]', *REPO)
    assert code == 0
    tree = _plain(shown).rpartition("✓ cli_write")[2]
    assert re.search(r"✓ cli_read +\d+\.\d s commit [0-9a-f]{12}", tree), tree
    assert re.search(r"✓ again +\d+\.\d s commit", tree), tree
    assert "cli_write: written" in _plain(shown)
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back
