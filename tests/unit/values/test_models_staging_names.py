"""Names of staging branches: readable, safe everywhere, and never shared."""

import re
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from perago.values.models import staging_branch_name


@dataclass(frozen=True)
class Attempt:
    workflow_instance_id: str
    task_id: str
    retry_count: int = 0
    status: str = "IN_PROGRESS"
    reference_task_name: str | None = None
    execution_id: str | None = None


attempts = st.builds(
    Attempt,
    workflow_instance_id=st.text(max_size=300),
    task_id=st.text(max_size=300),
    retry_count=st.integers(0, 10**30),
    reference_task_name=st.none() | st.text(max_size=300),
    execution_id=st.none() | st.text(max_size=300),
)


@given(attempts)
def test_a_name_is_safe_for_every_store(attempt):
    name = staging_branch_name(attempt)
    assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
    assert len(name) <= 200


@given(attempts, attempts)
def test_two_executions_never_share_a_name(one, other):
    assert (staging_branch_name(one) == staging_branch_name(other)) == (one == other)


def test_a_name_can_be_read():
    attempt = Attempt("Wf_1", "8c1d", 2, reference_task_name="build.features", execution_id="E-7")
    assert staging_branch_name(attempt).startswith("perago-wf-1-build-features-8c1d-2-e-7-")


def test_parts_that_run_together_are_told_apart():
    assert staging_branch_name(Attempt("a-b", "c")) != staging_branch_name(Attempt("a", "b-c"))


def test_an_object_without_the_optional_attributes_will_do():
    class Bare:
        status = "IN_PROGRESS"
        workflow_instance_id = "wf"
        task_id = "t"
        retry_count = 0

    assert staging_branch_name(Bare()).startswith("perago-wf-t-0-")
