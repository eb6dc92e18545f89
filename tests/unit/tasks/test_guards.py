"""Guards: declared with care, checked all at once, and useful when they do not hold."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from perago import (
    GuardrailViolation,
    PostGuardrailViolation,
    PreGuardrailViolation,
    TaskDefinitionError,
    WorkspaceSpec,
    check_guardrails,
    forbid_glob,
    require_dir,
    require_file,
    require_glob,
)
from perago.tasks.guards import describe_guard

KINDS = (require_file, require_dir, require_glob, forbid_glob)


@pytest.fixture
def root(tmp_path):
    """A workspace with files, directories, a dot file, and links within, out, and to nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text("secret")
    workspace = tmp_path / "workspace"
    (workspace / "raw" / "deep").mkdir(parents=True)
    (workspace / "empty").mkdir()
    for name in ("raw/penguins.csv", "raw/deep/a.csv", "raw/notes.txt", ".hidden"):
        (workspace / name).write_text("x")
    (workspace / "link.csv").symlink_to("raw/penguins.csv")
    (workspace / "linked").symlink_to("raw")
    (workspace / "out.csv").symlink_to(outside / "secret.csv")
    (workspace / "out").symlink_to(outside)
    (workspace / "nowhere").symlink_to("gone")
    os.mkfifo(workspace / "fifo")
    return workspace


def fault_of(root, guard):
    """What the violation says of one guard; None: it holds."""
    try:
        check_guardrails(root, [guard], "post")
    except PostGuardrailViolation as violation:
        message = str(violation)
    else:
        return None
    prefix = f"the post guard did not hold: {describe_guard(guard)} "
    assert message.startswith(prefix)
    return message.removeprefix(prefix)


# ---------------------------------------------------------------- declaring


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("", "empty"), ("/a", "absolute"), ("../a", "'..'"), ("a/../b", "'..'"), ("./a", "'.'"), ("a/./b", "'.'"),
        (".", "'.'"), ("..", "'..'"), ("a//b", "segment ''"), ("a/", "end with a slash"), ("a\\b", "backslash"),
        ("C:/x", "drive"), ("c:x", "drive"), ("a\0b", "NUL"), (5, "not int"), (None, "not NoneType"),
    ],
)  # fmt: skip
def test_a_path_that_could_lead_out_is_refused_with_the_guard_and_the_fault(kind, path, fault):
    with pytest.raises(TaskDefinitionError) as caught:
        kind(path)
    assert str(caught.value).startswith(f"{kind.__name__}({path!r}): ")
    assert fault in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["a", "a/b.csv", " ", "~", "ä", PurePosixPath("a/b"), Path("a")])
def test_relative_posix_paths_are_taken_as_text_or_path(kind, path):
    assert kind(path).path == str(path)


@pytest.mark.parametrize("kind", [require_glob, forbid_glob])
@pytest.mark.parametrize("pattern", ["a**", "x/**.csv", "***"])
def test_two_stars_within_a_segment_are_refused_on_every_python(kind, pattern):
    with pytest.raises(TaskDefinitionError, match="must be a whole segment"):
        kind(pattern)


def test_a_file_may_have_stars_in_its_name():
    assert require_file("a**").path == "a**"


@pytest.mark.parametrize(
    ("counts", "fault"),
    [
        ({"min_count": -1}, "min_count"),
        ({"max_count": -1}, "max_count"),
        ({"min_count": 1.5}, "min_count"),
        ({"min_count": 2, "max_count": 1}, "larger"),
        ({"max_count": 0}, "larger"),
    ],
)
def test_counts_that_contradict_are_refused(counts, fault):
    with pytest.raises(TaskDefinitionError, match=fault):
        require_glob("*", **counts)


def test_a_glob_asks_for_one_match_unless_told_otherwise():
    assert (require_glob("*").min_count, require_glob("*").max_count) == (1, None)
    assert require_glob("*", min_count=None).min_count == 1
    assert require_glob("*", min_count=0, max_count=0).max_count == 0


def test_guards_are_part_of_a_spec_also_as_plain_values(root):
    spec = WorkspaceSpec(pre=[require_file("a")], post=[{"kind": "require_glob", "path": "*.none"}])
    assert spec.pre == [require_file("a")]
    with pytest.raises(PostGuardrailViolation, match="at least 1"):
        check_guardrails(root, spec.post, "post")


# ---------------------------------------------------------------- checking


@pytest.mark.parametrize(
    "guard",
    [
        require_file("raw/penguins.csv"), require_file(".hidden"), require_file("link.csv"),
        require_file("linked/penguins.csv"), require_dir("raw"), require_dir("empty"), require_dir("linked"),
        require_glob("raw/*.csv"), require_glob("**/*.csv", min_count=3, max_count=3), require_glob(".h*"),
        require_glob("raw", max_count=1), require_glob("linked/*.csv"), require_glob("x*", min_count=0),
        forbid_glob("*.tmp"), forbid_glob("empty/*"), forbid_glob("gone/*"),
    ],
)  # fmt: skip
def test_guards_that_hold(root, guard):
    assert fault_of(root, guard) is None


@pytest.mark.parametrize(
    ("guard", "fault"),
    [
        (require_file("raw/penguin.csv"), "found no file: 'raw' has no 'penguin.csv', but 'penguins.csv'"),
        (require_file("raw/zzz"), "found no file: 'raw' has no 'zzz', but 'deep', 'notes.txt', 'penguins.csv'"),
        (require_file("empty/a.csv"), "found no file: 'empty' is empty"),
        (require_file("raw/deep/deeper/a"), "found no file: 'raw/deep' has no 'deeper', but 'a.csv'"),
        (require_file("raw/notes.txt/a"), "found no file: 'raw/notes.txt' is not a directory"),
        (require_file("Raw"), "found no file: the workspace has no 'Raw', but 'raw'"),
        (require_file("raw"), "found no file, but a directory"),
        (require_file("fifo"), "found no file, but something that is neither a file nor a directory"),
        (require_file("nowhere"), "found no file, but a broken symbolic link"),
        (require_dir("raw/notes.txt"), "found no directory, but a file"),
        (require_dir("raws"), "found no directory: the workspace has no 'raws', but 'raw'"),
        (require_glob("raw/*.parquet"), "matched nothing, but at least 1 must match"),
        (require_glob("raw/*.csv", min_count=2), "matched 1 path, but at least 2 must match: 'raw/penguins.csv'"),
        (require_glob("raw/*", max_count=2),
            "matched 3 paths, but at most 2 may match: 'raw/deep', 'raw/notes.txt', 'raw/penguins.csv'"),
        (forbid_glob("raw/*"), "matched 3 paths: 'raw/deep', 'raw/notes.txt', 'raw/penguins.csv'"),
        (forbid_glob("**/*.csv"),
            "matched 4 paths: 'link.csv', 'out.csv', 'raw/deep/a.csv' and 1 more"),
    ],
)  # fmt: skip
def test_a_violation_says_what_was_found(root, guard, fault):
    assert fault_of(root, guard) == fault


@pytest.mark.parametrize("guard", [require_file("out.csv"), require_file("out/secret.csv"), require_dir("out")])
def test_a_link_out_of_the_workspace_is_not_followed_to_a_file(root, guard):
    assert "a symbolic link that leads out of the workspace" in fault_of(root, guard)


def test_a_link_out_of_the_workspace_is_not_followed_by_a_pattern(root):
    assert fault_of(root, require_glob("out*")) == "matched nothing, but at least 1 must match"
    assert fault_of(root, require_glob("out/*")) == "matched nothing, but at least 1 must match"
    assert fault_of(root, forbid_glob("out/*")) is None
    assert fault_of(root, require_glob("*/secret.csv", min_count=0, max_count=0)) is None


def test_a_link_out_of_the_workspace_is_itself_a_match_of_what_is_forbidden(root):
    assert fault_of(root, forbid_glob("out*")) == "matched 2 paths: 'out', 'out.csv'"


def test_a_directory_beside_the_workspace_with_a_longer_name_is_outside(root):
    beside = root.with_name("workspace2")
    beside.mkdir()
    (beside / "a").write_text("x")
    (root / "sly").symlink_to(beside)
    assert "leads out" in fault_of(root, require_file("sly/a"))


def test_a_root_that_is_reached_through_a_link_is_inside(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    for guard in (require_file("raw/notes.txt"), require_glob("raw/*")):
        assert fault_of(tmp_path / "alias", guard) is None


def test_all_violated_guards_are_in_one_message_and_no_other(root):
    guards = [require_file("a"), require_dir("raw"), forbid_glob("raw"), require_glob("b*", min_count=2, max_count=3)]
    with pytest.raises(PreGuardrailViolation) as caught:
        check_guardrails(root, guards, "pre")
    message = str(caught.value)
    assert message.startswith("3 of 4 pre guards did not hold: require_file('a') ")
    assert "; forbid_glob('raw') " in message
    assert "; require_glob('b*', min_count=2, max_count=3) " in message
    assert "require_dir" not in message


def test_the_phase_decides_the_class_and_nothing_else_is_a_phase(root):
    for phase, error in (("pre", PreGuardrailViolation), ("post", PostGuardrailViolation)):
        with pytest.raises(error) as caught:
            check_guardrails(root, [require_file("a")], phase)
        assert isinstance(caught.value, GuardrailViolation)
    with pytest.raises(ValueError, match="'mid'"):
        check_guardrails(root, [], "mid")


def test_no_guards_always_hold(tmp_path):
    """They need no workspace, too."""
    (tmp_path / "there").mkdir()
    for root in (tmp_path / "there", tmp_path / "gone"):
        for phase in ("pre", "post"):
            assert check_guardrails(root, [], phase) is None


def test_a_workspace_that_is_not_there_breaks_what_is_required_only(tmp_path):
    gone = tmp_path / "gone"
    assert fault_of(gone, forbid_glob("*")) is None
    assert fault_of(gone, require_file("a")) == "found no file: the workspace's directory does not exist"
    assert fault_of(gone, require_glob("*")) == "matched nothing, but at least 1 must match"


def test_the_root_may_be_text(root):
    assert fault_of(str(root), require_file("raw/notes.txt")) is None


def test_a_hostile_name_is_shown_safely(root):
    (root / "raw" / "a\n\x1b[31mb.tmp").write_text("x")
    message = fault_of(root, forbid_glob("raw/*.tmp"))
    assert message.isprintable()
    assert "\\x1b" in message


def test_a_directory_that_cannot_be_read_breaks_the_guard_and_says_why(open_directory, as_nobody):
    (open_directory / "raw").mkdir(mode=0)
    fault = as_nobody(lambda: fault_of(open_directory, require_file("raw/notes.txt")))
    assert fault == "found no file, but an unreadable entry (Permission denied)"
