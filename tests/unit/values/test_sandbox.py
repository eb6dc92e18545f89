"""The mode in which a task runs, by what it declares, the setting, and what the host lacks."""

from pathlib import Path

import pytest

from perago.values.sandbox import SandboxRecord, SandboxSpec, fault_of_sandbox
from perago.worker.body import confinement


@pytest.mark.parametrize(
    ("declared", "default", "lacks", "mode"),
    [
        (None, "off", None, "off"),
        (None, "enforce", None, "enforce"),
        ("off", "enforce", None, "off"),
        ("enforce", "off", None, "enforce"),
        ("enforce", "report", None, "enforce"),
        ("enforce", "report", "it lacks something", "report"),
        ("enforce", "off", "it lacks something", "enforce"),
        ("report", "off", "it lacks something", "report"),
    ],
)
def test_a_mode_is_the_task_s_or_the_default(declared, default, lacks, mode):
    assert SandboxSpec(mode=declared).mode_on(default, lacks=lacks) == mode


def test_a_record_keeps_what_a_guard_before_it_reached_for():
    before = SandboxRecord(mode="report", reached=("read /a", "read /b"), more=1, modules=("a",), opened=("/a.py",))
    now = SandboxRecord(mode="report", network=True, reached=("read /b", "read /c"), opened=("/b.py", "/a.py"))
    assert now.after(before) == SandboxRecord(
        mode="report",
        network=True,
        reached=("read /a", "read /b", "read /c"),
        more=1,
        modules=("a",),
        opened=("/a.py", "/b.py"),
    )
    assert now.after(None) == now


def test_the_page_lists_the_variables_that_a_confined_body_sees():
    page = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text()
    assert {name for name in (*confinement.KEPT, *confinement.KEPT_FAMILIES) if f"`{name}`" not in page} == set()


def test_what_lacks_is_told_unless_the_user_does_without():
    spec = SandboxSpec(mode="enforce")
    fault = fault_of_sandbox("score", spec, "off", lacks="this kernel offers no Landlock")
    assert fault is not None
    assert "task 'score' runs with sandbox 'enforce', but this kernel offers no Landlock" in fault
    assert "PERAGO_SANDBOX=report" in fault
    assert fault_of_sandbox("score", spec, "report", lacks="this kernel offers no Landlock") is None
    assert fault_of_sandbox("score", spec, "off", lacks=None) is None
    assert fault_of_sandbox("score", SandboxSpec(), "off", lacks="anything") is None
