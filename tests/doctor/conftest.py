import pytest

from doctor_support import Project


@pytest.fixture
def project(tmp_path):
    """A repository with one branch, and the workspaces of its runs."""
    made = Project(tmp_path)
    yield made
    made.end_processes()
