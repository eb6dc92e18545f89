"""Results that Conductor cannot keep fail plainly."""

import pytest

from perago.engines.conductor.fit import fitting
from perago.engines.limits import MAX_OUTPUT_BYTES, json_size
from perago.values.models import RuntimeTaskResult


def done(text):
    return RuntimeTaskResult("COMPLETED", {"result": {"text": text}})


def test_a_result_that_fits_is_as_it_was():
    result = done("x" * 1_000)
    assert fitting(result) is result


def test_a_failure_is_as_it_was():
    failed = RuntimeTaskResult("FAILED", reason_for_incompletion="no luck")
    assert fitting(failed) is failed


@pytest.mark.parametrize("letter", ["x", "\u6f22", "\n", '"'])
def test_the_limit_is_one_of_bytes_of_json(letter):
    frame, one = json_size(done("").output), json_size(done(letter).output) - json_size(done("").output)
    count = (1_000 - frame) // one
    assert fitting(done(letter * count), max_bytes=1_000).status == "COMPLETED"
    large = fitting(done(letter * (count + 1)), max_bytes=1_000)
    assert large.status == "FAILED_WITH_TERMINAL_ERROR"
    assert f"{frame + one * (count + 1)} bytes" in large.reason_for_incompletion
    assert "limit of 1000" in large.reason_for_incompletion
    assert "file" in large.reason_for_incompletion


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}], ids=["nan", "inf", "object", "set"])
def test_what_is_no_json_fails_and_says_so(value):
    failed = fitting(RuntimeTaskResult("COMPLETED", {"result": {"value": value}}))
    assert failed.status == "FAILED_WITH_TERMINAL_ERROR"
    assert "as JSON" in failed.reason_for_incompletion


def test_the_limit_leaves_room_below_the_servers_own():
    assert MAX_OUTPUT_BYTES < 3072 * 1024


def test_a_result_that_cannot_be_kept_keeps_its_line():
    large = RuntimeTaskResult("COMPLETED", {"result": {"text": "x" * 100}}, log="took")
    assert fitting(large, max_bytes=10).log == "took"
