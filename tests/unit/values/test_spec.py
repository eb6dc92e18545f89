"""What a task may say of its workspace."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from perago import WorkspaceSpec, require_file


def test_what_is_left_out_has_its_default():
    spec = WorkspaceSpec()
    assert (spec.prefix, spec.pre, spec.post, spec.read_only) == ("/", [], [], False)
    assert (spec.isolation, spec.include, spec.exclude) == ("serializable", [], [])


@pytest.mark.parametrize(
    ("given", "prefix", "root"),
    [
        ("/", "/", ""), ("a", "a", "a/"), ("/a/b", "a/b", "a/b/"), ("//a", "a", "a/"), ("a b/c", "a b/c", "a b/c/"),
        (" a", "a", "a/"), ("a ", "a", "a/"), (" /a", "a", "a/"), ("/ ", "/", ""), ("\ta\n", "a", "a/"),
        ("C:/a", "C:/a", "C:/a/"), ("C:", "C:", "C:/"),
    ],
)  # fmt: skip
def test_a_prefix_loses_leading_slashes_and_a_slash_alone_is_the_whole_repository(given, prefix, root):
    spec = WorkspaceSpec(prefix=given)
    assert (spec.prefix, spec.root) == (prefix, root)


@pytest.mark.parametrize("prefix", ["", " ", "//", "a/", "a//b", ".", "./a", "a/./b", "..", "a/../b", "a\\b", "a\0b"])
def test_a_prefix_that_is_blank_or_may_lead_elsewhere_is_refused(prefix):
    with pytest.raises(ValidationError, match="prefix"):
        WorkspaceSpec(prefix=prefix)


@pytest.mark.parametrize("given", [{"prefix": "raw/a/"}, {"outputs": ["raw/a/"]}, {"exclude": ["raw/a//"]}])
def test_a_slash_at_the_end_is_told_as_one(given):
    with pytest.raises(ValidationError, match="must not end with a slash; write 'raw/a'"):
        WorkspaceSpec(**given)


@pytest.mark.parametrize("field", ["include", "exclude", "outputs"])
def test_patterns_stay_inside(field):
    assert getattr(WorkspaceSpec(**{field: ["a/**/*.txt"]}), field) == ["a/**/*.txt"]
    for pattern in ("/a", "../a", "a\\b", ""):
        with pytest.raises(ValidationError, match="pattern"):
            WorkspaceSpec(**{field: [pattern]})


def test_outputs_are_parted_from_what_is_read():
    spec = WorkspaceSpec(prefix="data", include=["raw/**"], exclude=["tmp"], outputs=["clean/**"])
    assert spec.laid_out == WorkspaceSpec(prefix="data", include=["raw/**"], exclude=["tmp", "clean/**"])
    assert spec.touched == WorkspaceSpec(prefix="data", include=["raw/**", "clean/**"], exclude=["tmp"])
    assert spec.made == WorkspaceSpec(prefix="data", include=["clean/**"], exclude=["tmp"])
    assert WorkspaceSpec(outputs=["clean/**"]).touched == WorkspaceSpec()
    without = WorkspaceSpec(include=["a"])
    assert without.laid_out == without.touched == without


def test_outputs_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="read_only workspace has no outputs"):
        WorkspaceSpec(read_only=True, outputs=["a"])
    for pattern in ("**", "*", "**/*"):
        with pytest.raises(ValidationError, match="cover everything that is read"):
            WorkspaceSpec(include=["raw"], outputs=["made", pattern])


def test_fields_of_the_params_are_filled_in():
    def check(workspace):
        pass

    spec = WorkspaceSpec(
        include=["raw/{shard}.csv", "{{literal}}/{shard}"],
        exclude=["{a b}/{}", "x}}", "tmp/{shard}"],
        outputs=["made/{year}/{shard}/**"],
        pre=[require_file("raw/{shard}.csv"), check],
    )
    assert spec.fields == ("shard", "year")
    filled = spec.filled({"shard": "s1", "year": "2026"}.__getitem__)
    assert filled.include == ["raw/s1.csv", "{literal}/s1"]
    assert filled.exclude == ["{a b}/{}", "x}}", "tmp/s1"]
    assert filled.outputs == ["made/2026/s1/**"]
    assert filled.pre == [require_file("raw/s1.csv"), check]
    assert spec.of_any_params.outputs == ["made/*/*/**"]
    assert spec.of_any_params.exclude == ["{a b}/{}", "x}}"]  # what is excluded for one is not for another
    assert WorkspaceSpec(include=["{{a}}"]).filled(str).include == ["{a}"]
    with pytest.raises(ValidationError, match=r"has a field within \[\.\.\.\]"):
        WorkspaceSpec(include=["raw/[{shard}]*"])


def test_it_is_frozen_and_takes_no_unknown_field():
    spec = WorkspaceSpec(pre=[require_file("in.txt")])
    with pytest.raises(ValidationError, match="frozen"):
        spec.prefix = "other"
    with pytest.raises(ValidationError, match="colour"):
        WorkspaceSpec(colour="red")
    with pytest.raises(ValidationError, match="no isolation 'none'; give 'serializable', 'snapshot' or 'exclusive'"):
        WorkspaceSpec(isolation="none")
