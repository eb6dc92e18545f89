"""A failure names the line of the body that it came from, and none of Perago's own."""

import json
from pathlib import Path

import pydantic

import perago
from perago.attempt.output import place_in_body
from perago.errors import TaskExecutionError, TaskFailed

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


def test_what_a_body_raised_on_purpose_has_no_place():
    assert place_in_body(error_with(("/a/task.py", 3, "build"), kind=TaskFailed)) is None
    assert place_in_body(None) is None
