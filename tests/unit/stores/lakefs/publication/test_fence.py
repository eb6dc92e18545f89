"""The fence's file, and the protection of the server's actions: decisions without a server."""

import hashlib
import re

import pytest

from perago.errors import ObjectNameError, PublishFenceError
from perago.stores.lakefs.api.answers import ObjectStats
from perago.stores.lakefs.publication.fence import (
    EXACT_FENCE,
    EXPECTED_PARENT,
    FENCE_PATH,
    check_actions,
    fence_content,
    holds_fence,
    is_action,
    refuse_actions,
)


def stats(content, path=FENCE_PATH):
    return ObjectStats(path, "mem://1", hashlib.md5(content).hexdigest(), len(content))


def actions(**files):
    """Objects below the actions' prefix; `fence` is the fence's file."""
    found = {}
    for name, content in files.items():
        path = FENCE_PATH if name == "fence" else f"_lakefs_actions/{name}.yaml"
        found[path] = stats(content, path)
    return found


def test_the_file_reads_the_metadata_that_a_publication_writes():
    text = EXACT_FENCE.decode()
    assert f'metadata["{EXPECTED_PARENT}"]' in text
    assert re.search(r"^on:\n  pre-merge:$", text, re.MULTILINE)


def test_the_exact_file_is_one_and_the_cooperative_one_is_another_each_time():
    assert fence_content("exact", "1") == fence_content("exact", "2") == EXACT_FENCE
    made = {fence_content("cooperative", execution) for execution in ("1", "2", "line\nbreak: x")}
    assert len(made) == 3
    assert all(
        content.startswith(EXACT_FENCE) and content.count(b"\n") == EXACT_FENCE.count(b"\n") + 1 for content in made
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_lakefs_actions/x.yaml", True),
        ("_lakefs_actions/deep/x", True),
        ("_lakefs_actions", True),
        ("_lakefs_actions2/x", False),
        ("data/_lakefs_actions/x", False),
        ("_LAKEFS_ACTIONS/x", False),
    ],
)
def test_actions_are_told_from_files(name, expected):
    assert is_action(name) is expected
    if expected:
        with pytest.raises(ObjectNameError, match="_lakefs_actions"):
            refuse_actions(["fine", name])
    else:
        refuse_actions(["fine", name])


def test_a_fence_is_told_by_checksum_and_size():
    assert holds_fence(actions(fence=EXACT_FENCE), EXACT_FENCE)
    assert not holds_fence(actions(fence=EXACT_FENCE + b"\n"), EXACT_FENCE)
    assert not holds_fence(actions(other=EXACT_FENCE), EXACT_FENCE)
    same_checksum = {FENCE_PATH: stats(EXACT_FENCE)._replace(size=1)}
    assert not holds_fence(same_checksum, EXACT_FENCE)


ALIKE = [
    (actions(), actions(fence=EXACT_FENCE)),
    (actions(fence=b"older"), actions(fence=EXACT_FENCE)),
    (actions(fence=EXACT_FENCE, gate=b"1"), actions(fence=EXACT_FENCE, gate=b"1")),
]
OTHERS = [
    (actions(gate=b"1"), actions(fence=EXACT_FENCE)),
    (actions(), actions(fence=EXACT_FENCE, gate=b"1")),
    (actions(gate=b"1"), actions(fence=EXACT_FENCE, gate=b"2")),
]


@pytest.mark.parametrize(("head", "staged"), ALIKE)
def test_a_staged_commit_may_bring_the_fence_along(head, staged):
    assert check_actions(head, staged, EXACT_FENCE) is None


@pytest.mark.parametrize(("head", "staged"), OTHERS)
def test_a_staged_commit_that_changes_other_actions_is_refused(head, staged):
    with pytest.raises(PublishFenceError, match=r"gate\.yaml"):
        check_actions(head, staged, EXACT_FENCE)


@pytest.mark.parametrize("staged", [actions(), actions(fence=b"tampered"), actions(gate=b"1")])
def test_a_staged_commit_without_the_fence_is_refused(staged):
    with pytest.raises(PublishFenceError, match=r"perago_fence\.yaml"):
        check_actions(actions(fence=EXACT_FENCE), staged, EXACT_FENCE)
