"""What an attempt comes to, by its plan: the word that summaries, metrics and traces use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perago.attempt.publication import how_of
from perago.values.history import Complete, Merge, Publish, Seal, Stamp

STAMP = Stamp(
    task="t",
    workflow_instance_id="w",
    reference_task_name="r",
    task_id="1",
    retry_count=0,
    scheduled_time=None,
    poll_count=None,
    execution_id="e",
    input_ref="a",
    params_digest="sha256:0",
    code_digest="sha256:0",
    result_digest="sha256:0",
)


@pytest.mark.parametrize(
    ("plan", "how"),
    [
        (Complete("a"), "unchanged"),
        (Complete("a", {"rows": 1}), "adopted"),
        (Seal("h", "a"), "unchanged"),
        (Seal("h", "a", replace(STAMP, result={})), "adopted"),
        (Publish("h"), "published"),
        (Publish("h", ("x",)), "replaced"),
        (Merge("h", ("x",)), "merged"),
    ],
)
def test_each_plan_has_its_word(plan, how):
    assert how_of(plan) == how
