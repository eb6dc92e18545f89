"""What the disk refuses, in the project's own words."""

from __future__ import annotations

import errno
import os

import pytest

from perago.errors import WorkspaceStorageError
from perago.files.storage import opened_file, storage_errors, write_whole


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO, errno.EBUSY]
)
def test_an_error_says_what_happened_to_what_and_what_to_do(code):
    with pytest.raises(WorkspaceStorageError) as told, storage_errors("cannot write", "/some/path\u202e"):
        raise OSError(code, os.strerror(code))
    message = str(told.value)
    assert message.startswith("cannot write '/some/path\\u202e': ")
    assert os.strerror(code) in message
    assert message.partition("; ")[2]
    assert told.value.retry_can_help


def test_an_error_without_a_number_is_told_too():
    with pytest.raises(WorkspaceStorageError, match="TimeoutError"), storage_errors("cannot write", "x"):
        raise TimeoutError


def test_other_errors_pass():
    with pytest.raises(KeyError), storage_errors("cannot write", "x"):
        raise KeyError


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f"
    write_whole(path, ["a\n", "b\n"])

    def lines():
        yield "c\n"
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_whole(path, lines())
    assert path.read_text() == "a\nb\n"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "f", ["x"])


def test_opening_what_is_no_regular_file_leaks_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    before = os.dup(0)
    os.close(before)
    for name in ("pipe", "link", ".", "none"):
        with pytest.raises(OSError), opened_file(tmp_path / name):
            pytest.fail("was opened")
    after = os.dup(0)
    os.close(after)
    assert before == after
