"""A failure names the line of the body that it came from, and none of Perago's own."""

import json
from pathlib import Path

import pydantic
import pytest

import perago
from perago.attempt.output import place_in_body, reason_for_exception, traceback_in_body
from perago.errors import TaskExecutionError, TaskFailed
from perago.values.redaction import traceback_of
from perago.worker.process.messages import clean_text

OURS = Path(perago.__file__).parent / "tasks" / "params.py"


def error_with(*frames, kind=TaskExecutionError):
    error = kind("no")
    error.add_note("\n".join(f'  File "{file}", line {line}, in {function}' for file, line, function in frames))
    return error


def test_the_innermost_frame_of_the_body_is_named():
    assert place_in_body(error_with(("/a/task.py", 3, "build"), ("/a/help.py", 7, "read"))) == "/a/help.py:7 in read"


def test_perago_s_own_frames_are_passed_over():
    assert (
        place_in_body(error_with(("/a/task.py", 3, "build"), (OURS, 55, "validate_result"))) == "/a/task.py:3 in build"
    )
    assert place_in_body(error_with((OURS, 55, "validate_result"))) is None


def test_a_library_s_frames_are_passed_over_where_the_body_has_some():
    library = Path(pydantic.__file__)
    standard = Path(json.__file__)
    task = ("/a/task.py", 3, "build")
    assert place_in_body(error_with(task, (library, 9, "dump"), (standard, 7, "loads"))) == "/a/task.py:3 in build"
    assert place_in_body(error_with((library, 9, "dump"))) == f"{library}:9 in dump"  # a task that was installed


@pytest.mark.parametrize("file", ["<frozen os>", "<string>"])
def test_library_code_without_a_file_is_passed_over(file):
    assert place_in_body(error_with(("/a/task.py", 3, "build"), (file, 679, "__getitem__"))) == "/a/task.py:3 in build"


def raised(raise_it):
    with pytest.raises((OSError, ValueError)) as caught:
        raise_it()
    return caught.value


def test_a_long_message_displaces_no_frame():
    def open_it():
        (Path("/a") / ("x" * 100_000)).read_text()

    error = raised(open_it)
    assert place_in_body(error) == f"{__file__}:{open_it.__code__.co_firstlineno + 1} in open_it"
    assert "in open_it" in traceback_in_body(error)
    noted = TaskExecutionError("no")
    noted.add_note(clean_text(traceback_of(error)))
    assert place_in_body(noted) == place_in_body(error)


def test_many_lines_of_a_message_displace_no_place():
    def fail():
        raise ValueError("a line of it\n" * 2_000)

    assert place_in_body(raised(fail)) == f"{__file__}:{fail.__code__.co_firstlineno + 1} in fail"


def cause_of(text, cause):
    error = RuntimeError(text)
    error.__cause__ = cause
    return reason_for_exception(error)


def test_a_reason_ends_with_a_short_cause():
    assert cause_of("no rows", KeyError("x")) == "RuntimeError: no rows (caused by KeyError: 'x')"
    assert cause_of("no rows", StopIteration()) == "RuntimeError: no rows (caused by StopIteration)"
    assert cause_of("no rows: 'x'", KeyError("x")) == "RuntimeError: no rows: 'x'"
    assert cause_of("no rows", KeyError("x" * 200)) == "RuntimeError: no rows"
    assert cause_of("no rows", ValueError("one\ntwo")) == "RuntimeError: no rows"
    assert cause_of("no rows", ValueError("password=hunter2")) == (
        "RuntimeError: no rows (caused by ValueError: password=**********)"
    )


def test_the_author_s_own_reason_has_no_cause():
    error = TaskFailed("the input is empty")
    error.__cause__ = KeyError("x")
    assert reason_for_exception(error) == "the input is empty"


def test_what_a_body_raised_on_purpose_has_no_place():
    assert place_in_body(error_with(("/a/task.py", 3, "build"), kind=TaskFailed)) is None
    assert place_in_body(None) is None
