"""`perago run` is killed at each call that changes a file while it claims, leaves or removes a warm workspace."""

from __future__ import annotations

import sys

import pytest

from kill_support import KILLED, Project

MANY = tuple(f"many/{number // 100}/{number:03}.txt" for number in range(220))
"""So many files that they stay."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workspaces stay on Linux only")


def warm_files(project):
    """What is in each workspace that stays."""
    return [sorted(path.name for path in entry.iterdir()) for entry in project.root.glob("warm/*")]


@pytest.mark.timeout(1800)
def test_a_run_killed_at_any_call_on_a_warm_workspace_is_resumed(tmp_path, kill_counts):
    """Two tasks: the first one's workspace stayed of an earlier run, and is left for the second one."""
    project = Project.create(tmp_path / "project", more=MANY, most=2)
    many = project.git("rev-parse", "main:many")
    line, killed = 0, list[str]()
    while True:
        if not warm_files(project):  # at first, and where the resume took what was published already
            line += 2
            assert project.perago(*project.run_arguments(line)).code == 0
            project.check_done(line)
        assert ["record", "workspace"] in warm_files(project)
        first, line = line + 2, line + 4
        ended = project.perago(*project.workflow_arguments(first, line), kill_at=f"warm.{len(killed) + 1}")
        if ended.killed_at is None:
            break
        assert ended.code == KILLED
        killed.append(ended.killed_at)
        project.check_history()
        run = project.newest_run()
        assert run is not None
        resumed = project.perago(*project.resume_arguments(run.run_id))
        assert resumed.code == 0, resumed.err
        project.check_done(first, line)
        assert project.git("rev-parse", "main:many") == many
        assert {path.name for path in project.root.iterdir()} <= {"warm"}, "the resume sweeps what the killed one left"
        assert all(found == ["record", "workspace"] for found in warm_files(project))
    assert ended.code == 0, ended.err
    assert {where.split(".")[1] for where in killed} == {"keep", "leave", "delete"}
    assert 20 < len(killed) < len(MANY) // 2, "else nothing was kept"
    project.check_clean()
    kill_counts["on a warm workspace"] += len(killed)
