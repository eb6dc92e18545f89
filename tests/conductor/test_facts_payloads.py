"""How large a result a Conductor server keeps. What is beyond must fail plainly, and before it is sent."""

import pytest

from perago.engines.limits import MAX_OUTPUT_BYTES

KB = 1024


def ended(conductor, flow, size):
    """A task after a result of that many bytes: the answer's status, and the task as it is read."""
    task = flow.begin()
    frame = len('{"text":""}')
    answer = conductor.update(task, "COMPLETED", outputData={"text": "x" * (size - frame)})
    return answer.status, conductor.task(task["taskId"])


@pytest.mark.parametrize("size", [1 * KB, MAX_OUTPUT_BYTES, 3072 * KB])
def test_a_result_up_to_3072_kb_is_kept_with_the_task(conductor, flow, size):
    status, task = ended(conductor, flow, size)
    assert (status, task["status"]) == (200, "COMPLETED")
    assert len(task["outputData"]["text"]) == size - len('{"text":""}')


def test_a_larger_one_is_moved_elsewhere_and_later_reads_do_not_have_it(conductor, flow):
    status, task = ended(conductor, flow, 3073 * KB)
    assert (status, task["status"], task["outputData"]) == (200, "COMPLETED", {})
    assert task["externalOutputPayloadStoragePath"]


def test_one_beyond_10240_kb_answers_200_and_fails_the_task_for_good(conductor, flow):
    status, task = ended(conductor, flow, 10241 * KB)
    assert (status, task["status"]) == (200, "FAILED_WITH_TERMINAL_ERROR")
    assert "greater than the permissible limit" in task["reasonForIncompletion"]


def test_a_reason_is_cut_at_500_characters(conductor, flow):
    task = flow.begin()
    conductor.update(task, "FAILED", reasonForIncompletion="x" * 600)
    assert len(conductor.task(task["taskId"])["reasonForIncompletion"]) == 500
