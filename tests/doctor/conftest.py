import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from doctor_support import Project


@pytest.fixture
def project(tmp_path):
    """A repository with one branch, and the workspaces of its runs."""
    made = Project(tmp_path)
    yield made
    made.end_processes()
