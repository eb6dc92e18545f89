"""Logs as JSON lines: whole objects, bounded files, old ones removed, no secrets."""

from __future__ import annotations

import json
import logging
import os
import resource
import time
from contextlib import contextmanager

import pytest

from perago.errors import RuntimeConfigError
from perago.telemetry import json_lines
from perago.telemetry.json_lines import FIELDS_ATTRIBUTE, JsonLinesFile


@pytest.fixture
def open_log(tmp_path):
    """Opens log files; closes them at the end."""
    files = []

    def open_file(name="worker-1", max_bytes=10**6, retention_seconds=3600.0):
        file = JsonLinesFile(
            tmp_path, name, max_bytes=max_bytes, retention_seconds=retention_seconds, common={"worker": name}
        )
        files.append(file)
        return file

    yield open_file
    for file in files:
        file.close()


def test_control_characters_are_escaped_c1_and_bidirectional_ones_too(open_log):
    file = open_log()
    evil = "a\x1b[2J\x7f\x9b31m\u202eb\u2066c\u200f\u2028d\ud800"
    write(file, evil, **{evil: evil})
    text = file.path.read_text()
    assert [char for char in text if not char.isprintable()] == ["\n"]
    line = json.loads(text)
    assert line["message"] == evil
    assert line[evil] == evil


def write(file, text, level=logging.INFO, exc_info=None, **fields):
    trace = None if exc_info is None else (type(exc_info), exc_info, exc_info.__traceback__)
    extra = {FIELDS_ATTRIBUTE: fields}
    file.handle(logging.getLogger("test").makeRecord("test", level, "", 0, text, (), trace, extra=extra))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_holds_the_record_the_common_fields_and_its_own(open_log, tmp_path):
    file = open_log()
    write(file, "read\nit", level=logging.WARNING, task="features", attempt=2, phase="body")
    (line,) = lines(file.path)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "test",
        "message": "read\nit",
        "worker": "worker-1",
        "task": "features",
        "attempt": 2,
        "phase": "body",
    }
    assert oct(file.path.stat().st_mode & 0o777) == "0o600"


def test_no_link_is_followed_to_a_file_of_somebody_elses(open_log, tmp_path):
    (tmp_path / "precious").write_text("mine\n")
    (tmp_path / "worker-1.jsonl").symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links"):
        open_log()
    (tmp_path / "worker-1.jsonl").unlink()
    file = open_log()
    file.path.unlink()
    file.path.symlink_to("precious")
    write(file, "told")  # which finds that its file is gone; what cannot be written is told on stderr
    assert (tmp_path / "precious").read_text() == "mine\n"


def test_a_directory_that_others_may_write_to_is_refused(open_log, tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(RuntimeConfigError, match=r"PERAGO_LOG_ROOT .* can be written by all users"):
        open_log()
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_masked_wherever_they_stand(open_log):
    file = open_log()
    try:
        raise ValueError("token=abc123xyz was refused")
    except ValueError as exc:
        write(file, "https://me:hunter2@host and password=hunter2", exc_info=exc, api_key="hunter2")
    text = file.path.read_text()
    assert "hunter2" not in text
    assert "abc123xyz" not in text
    assert "ValueError" in lines(file.path)[0]["traceback"]


def test_a_file_that_would_grow_too_large_is_put_aside_and_nothing_is_lost(open_log, tmp_path):
    file = open_log(max_bytes=1000)
    for number in range(50):
        write(file, f"line {number}")
    paths = sorted(tmp_path.glob("*.jsonl"), key=lambda path: (path == file.path, path.name))
    assert len(paths) > 2
    assert all(path.stat().st_size <= 1000 for path in paths)
    assert [line["message"] for path in paths for line in lines(path)] == [f"line {number}" for number in range(50)]


def test_a_line_larger_than_a_file_is_written_whole(open_log):
    file = open_log(max_bytes=10)
    write(file, "x" * 100)
    assert lines(file.path)[0]["message"] == "x" * 100


def test_a_worker_that_starts_again_goes_on_in_its_file(open_log):
    write(open_log(), "before")
    file = open_log()
    write(file, "after")
    assert [line["message"] for line in lines(file.path)] == ["before", "after"]


def test_old_files_of_any_worker_are_removed_and_others_stay(open_log, tmp_path):
    old, young, other = tmp_path / "w-9.jsonl", tmp_path / "w-8.jsonl", tmp_path / "notes.txt"
    for path in (old, young, other):
        path.write_text("{}\n")
    for path in (old, other):
        os.utime(path, (time.time() - 7200,) * 2)
    write(open_log(), "hello")
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_names_that_no_file_can_have_are_made_ones(open_log, tmp_path):
    file = open_log(name="../a b/c")
    write(file, "here")
    assert file.path.parent == tmp_path
    assert lines(file.path)[0]["worker"] == "../a b/c"


def test_no_field_takes_the_place_of_what_every_line_holds(open_log):
    file = open_log()
    write(file, "read", worker="another", level_name="x", time="never", message="other", logger="other", rows=3)
    (line,) = lines(file.path)
    assert (line["message"], line["logger"], line["worker"], line["rows"]) == ("read", "test", "worker-1", 3)
    assert line["time"] != "never"


def test_a_file_that_another_worker_has_swept_is_begun_anew(open_log):
    """It sweeps what nobody has written to for so long: a worker without work logs nothing."""
    idle, other = open_log("worker-1"), open_log("worker-2", retention_seconds=60.0)
    write(idle, "first")
    os.utime(idle.path, (time.time() - 3600, time.time() - 3600))
    other.sweep()
    assert not idle.path.exists()
    write(idle, "second")
    assert [line["message"] for line in lines(idle.path)] == ["second"]


@contextmanager
def no_file_can_be_opened():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def messages_in(directory):
    return sorted(line["message"] for path in directory.iterdir() for line in lines(path))


def test_a_file_that_somebody_has_moved_is_begun_anew_and_nothing_is_lost(open_log, tmp_path):
    file = open_log(max_bytes=1000)
    write(file, "line 10")
    file.path.rename(tmp_path / "moved")
    for number in range(11, 40):
        write(file, f"line {number}")
    assert messages_in(tmp_path) == [f"line {number}" for number in range(10, 40)]
    assert len(lines(tmp_path / "moved")) > 1
    assert lines(file.path)[-1]["message"] == "line 39"


def test_while_no_new_file_can_be_begun_lines_go_into_the_old_one(open_log, tmp_path, capsys):
    file = open_log(max_bytes=1000)
    with no_file_can_be_opened():
        for number in range(10, 40):
            write(file, f"line {number}")
    assert messages_in(tmp_path) == [f"line {number}" for number in range(10, 40)]
    assert capsys.readouterr().err.count("Logging error") == 1, "each line tried, and told of it"


def test_a_new_file_is_begun_when_one_can_be_again(open_log, tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "ROTATION_PAUSE_SECONDS", 0.0)
    file = open_log(max_bytes=10)
    write(file, "first")
    with no_file_can_be_opened():
        write(file, "second")
    assert not file.path.exists(), "it was put aside before a new one could be opened"
    write(file, "third")
    assert [line["message"] for line in lines(file.path)] == ["third"]
    assert messages_in(tmp_path) == ["first", "second", "third"]
