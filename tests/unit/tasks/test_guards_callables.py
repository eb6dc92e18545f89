"""Guards that are callables: declared with care, called with the workspace, and told like the others."""

from __future__ import annotations

import functools
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from perago import (
    PostGuardrailViolation,
    PreGuardrailViolation,
    WorkspaceSpec,
    build_taskdef,
    check_guardrails,
    require_file,
    task,
)
from perago.tasks.code import code_digest
from perago.tasks.guards import describe_guard


class Nothing(BaseModel):
    pass


def _expect(holds: bool, text: str) -> None:
    """As `assert` does, whose messages pytest makes longer."""
    if not holds:
        raise AssertionError(text)


def is_fine(workspace: Path) -> None:
    assert (workspace / "a.txt").read_text() == "a"


def is_wrong(workspace: Path) -> None:
    names = sorted(path.name for path in workspace.iterdir())
    raise ValueError(f"there is only {names}")


def says_no(workspace: Path) -> bool:
    return (workspace / "b.txt").exists()


def has(name: str):
    def check(workspace: Path) -> None:
        _expect((workspace / name).exists(), "")

    return check


def at_least(count: int, workspace: Path) -> None:
    _expect(len(list(workspace.iterdir())) >= count, "too few")


@dataclass(frozen=True)
class Holds:
    text: str

    def __call__(self, workspace: Path) -> None:
        _expect((workspace / "a.txt").read_text() == self.text, "another text")


async def is_async(workspace: Path) -> None: ...


def is_generator(workspace: Path):
    yield


@pytest.fixture
def root(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    return tmp_path


def test_a_callable_that_returns_nothing_holds(root):
    guards = [is_fine, has("a.txt"), functools.partial(at_least, 1), Holds("a")]
    assert check_guardrails(root, guards, "pre") is None


@pytest.mark.parametrize(
    ("guard", "name", "said"),
    [
        (is_wrong, "is_wrong", "raised ValueError: there is only ['a.txt'] (at "),
        (has("b.txt"), "has.check", "raised AssertionError (at "),
        (functools.partial(at_least, 3), "at_least(3)", "raised AssertionError: too few (at "),
        (Holds("b"), "Holds(text='b')", "raised AssertionError: another text (at "),
        (says_no, "says_no", "returned False; a guard must return None, or raise an error"),
        (lambda workspace: sys.exit(3), "test_lambda", "raised SystemExit: 3"),
    ],
    ids=["function", "closure", "partial", "instance", "returns", "exits"],
)
def test_what_a_callable_raises_is_a_violation_with_its_name_and_its_line(root, guard, name, said):
    with pytest.raises(PostGuardrailViolation) as caught:
        check_guardrails(root, [guard], "post")
    message = str(caught.value)
    assert message.startswith("the post guard did not hold: ")
    assert said in message
    if "raised" in said:
        assert "test_guards_callables.py:" in message
    if name != "test_lambda":
        assert describe_guard(guard) == name


def test_all_callables_are_called_but_only_if_the_files_are_as_declared(root):
    with pytest.raises(PreGuardrailViolation, match=r"2 of 4 pre guards did not hold: is_wrong .*; says_no returned"):
        check_guardrails(root, [is_wrong, require_file("a.txt"), says_no, is_fine], "pre")
    with pytest.raises(PreGuardrailViolation, match=r"1 of 2 pre guards did not hold: require_file") as caught:
        check_guardrails(root, [is_wrong, require_file("none.txt")], "pre")
    assert "is_wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ("raw.csv", "not 'raw.csv'"),
        (Holds, "Holds is a class"),
        (print, "print is not written in Python"),
        (is_async, "is_async is async"),
        (is_generator, "a generator"),
        (at_least, "at_least cannot be called with the workspace alone: missing a required argument: 'workspace'"),
    ],
    ids=["text", "class", "builtin", "async", "generator", "arguments"],
)
def test_what_cannot_be_a_guard_is_refused_when_it_is_declared(guard, said):
    with pytest.raises(ValidationError) as caught:
        WorkspaceSpec(post=[guard])
    (fault,) = caught.value.errors()
    assert said in fault["msg"]
    assert (
        "a guard is require_file(...) or one of its siblings, or a function (workspace: Path) -> None" in fault["msg"]
    )


def _task(**options):
    @task(name="guarded", owner_email="tests@example.org", workspace=WorkspaceSpec(**options))
    def body(workspace: Path, params: Nothing) -> Nothing:
        return params

    return body.__perago_task__


def test_a_taskdef_knows_nothing_of_guards():
    assert build_taskdef(_task(pre=[is_fine])) == build_taskdef(_task())


def test_the_code_digest_covers_a_guard_of_another_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def guard(name, text):
        file = tmp_path / f"{name}.py"
        file.write_text(text)
        module = types.ModuleType(name)
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, str(file), "exec"), vars(module))
        return module.check

    one = guard("one_guard", "def check(workspace): pass\n")
    other = guard("other_guard", "def check(workspace): assert workspace\n")
    plain, with_one, with_other = (code_digest(_task(pre=guards)) for guards in ([], [one], [other]))
    assert len({plain, with_one, with_other}) == 3
    assert code_digest(_task(post=[one, one])) == with_one
    assert code_digest(_task(pre=[is_fine, require_file("a.txt")])) == plain  # in the file of the task
