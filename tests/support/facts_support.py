"""What the tests of lakeFS's own behaviour share: a fence as a person could write it, and staged commits."""

from __future__ import annotations

import itertools

FENCE_PATH = "_lakefs_actions/fence.yaml"
EXPECTED = "perago.expected_parent"
FENCE = f"""name: some-fence
on:
  pre-merge:
hooks:
  - id: expected_parent
    type: lua
    properties:
      script: |
        local expected = action.commit.metadata["{EXPECTED}"]
        if expected and expected ~= action.commit.parents[1] then
          error("expected " .. expected .. ", found " .. action.commit.parents[1])
        end
""".encode()
VETO = b"""name: house-rules
on:
  pre-merge:
hooks:
  - id: no_merges_today
    type: lua
    properties:
      script: |
        error("not on a Friday")
"""
NO_COMMIT = "0" * 64
_numbers = itertools.count()


def fenced(repository) -> str:
    """Commit the fence to main; returns the head."""
    return repository.commit_files("main", {"start": b"start", FENCE_PATH: FENCE})


def stage(repository, head, files, **options) -> str:
    """A commit on top of a head, on a branch of its own; returns its id."""
    branch = repository.branch(f"staging-{next(_numbers)}", head, hidden=True)
    return repository.commit_files(branch, files, **options)


def stage_empty(repository, head, metadata=None) -> str:
    branch = repository.branch(f"staging-{next(_numbers)}", head, hidden=True)
    return repository.commit(branch, "empty", metadata, allow_empty=True)["id"]


def publish(repository, staged, head, target="main", **options):
    """Merge a staged commit, if the target is at `head`; returns the answer, whatever it is."""
    return repository.merge(staged, target, {EXPECTED: head}, **options)
