"""`perago run` is killed before and after each of its phases; `--resume` brings it to its end."""

from __future__ import annotations

import pytest

from kill_support import KILLED, Project
from perago.ports import Phase

NEVER_REACHED = {Phase.POLL}


def resume_to_the_end(project, run_id):
    """Resume a killed run; one that had been recorded COMPLETED before the kill says so and stays as it is."""
    summary = project.newest_run()
    if summary is not None and summary.status == "COMPLETED":
        assert project.perago(*project.resume_arguments(run_id)).code == 2
        return
    ended = project.perago(*project.resume_arguments(run_id))
    assert ended.code == 0, ended.err


def sweep_boundaries(project, directory, arguments, line):
    """Kill the command at its first boundary, in a copy of the project; resume, check; then at its second, and so on.

    Returns:
        the names of the boundaries at which it was killed.
    """
    boundaries = []
    while True:
        copy = project.copy(directory / f"killed-{len(boundaries) + 1}")
        ended = copy.perago(*arguments(copy), kill_at=len(boundaries) + 1)
        if ended.killed_at is None:
            assert ended.code == 0, ended.err
            return boundaries
        assert ended.code == KILLED
        boundaries.append(ended.killed_at)
        copy.check_history()
        resume_to_the_end(copy, copy.newest_run().run_id)
        copy.check_done(line)
        assert list(copy.root.iterdir()) == [], "the resume sweeps what the killed one left"
        copy.check_clean()


@pytest.mark.timeout(1200)
def test_a_run_killed_at_any_boundary_of_its_phases_is_resumed(tmp_path, kill_counts):
    project = Project.create(tmp_path / "project")
    boundaries = sweep_boundaries(project, tmp_path, lambda copy: copy.run_arguments(1), 1)
    expected = {f"{phase}.{kind}" for phase in set(Phase) - NEVER_REACHED for kind in ("started", "completed")}
    assert expected <= set(boundaries)
    kill_counts["at a phase's boundary"] += len(boundaries)


@pytest.mark.timeout(1200)
def test_a_resume_that_adopts_is_killed_at_any_boundary_of_its_phases_and_resumed(tmp_path, kill_counts):
    project = Project.create(tmp_path / "project")
    assert project.perago(*project.run_arguments(2), kill_at="publish.completed").code == KILLED
    published = project.heads[-1]
    run_id = project.newest_run().run_id
    boundaries = sweep_boundaries(project, tmp_path, lambda copy: copy.resume_arguments(run_id), 2)
    assert {"decide.completed", "publish.started", "publish.completed", "report.completed"} <= set(boundaries)
    assert "body.started" not in boundaries
    assert project.git("rev-parse", "main") == published, "the copies were resumed, not this one"
    kill_counts["at a phase's boundary, adopting"] += len(boundaries)
