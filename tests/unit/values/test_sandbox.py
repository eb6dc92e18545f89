"""The mode in which a task runs, by what it declares, the setting, and what the host lacks."""

import pytest

from perago.values.sandbox import SandboxSpec, fault_of_sandbox


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


def test_what_lacks_is_told_unless_the_user_does_without():
    spec = SandboxSpec(mode="enforce")
    fault = fault_of_sandbox("score", spec, "off", lacks="this kernel offers no Landlock")
    assert fault is not None
    assert "task 'score' runs with sandbox 'enforce', but this kernel offers no Landlock" in fault
    assert "PERAGO_SANDBOX=report" in fault
    assert fault_of_sandbox("score", spec, "report", lacks="this kernel offers no Landlock") is None
    assert fault_of_sandbox("score", spec, "off", lacks=None) is None
    assert fault_of_sandbox("score", SandboxSpec(), "off", lacks="anything") is None
