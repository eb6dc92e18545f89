"""The commands of docs/lakefs.md, run as they stand there, on a repository of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n# ([\w-]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OURS = ("PERAGO_", "LAKECTL_", "CONDUCTOR_", "XDG_STATE_HOME", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    text = (PROJECT / "docs" / "lakefs.md").read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert len(found) == text.count("```sh"), "each block begins with a name"
    return dict(found)


@pytest.fixture
def shell(tmp_path, lakefs_server, lakefs_repository):
    """Run a block of the page in a directory that has the examples."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "LAKECTL_SERVER_ENDPOINT_URL": lakefs_server.url,
        "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": lakefs_server.access_key_id,
        "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": lakefs_server.secret_access_key,
        "PERAGO_WORKSPACE_ROOT": str(tmp_path / "workspaces"),
        "PERAGO_CACHE_DIR": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(block: str) -> str:
        script = "set -e\n" + block.replace("lakefs://penguins", f"lakefs://{lakefs_repository.name}")
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_page_works_from_the_top_to_the_bottom(blocks, shell, lakefs_repository, tmp_path):
    assert list(blocks) == ["settings", "first-task", "fence", "cache", "doctor"]
    told = shell(blocks["first-task"])
    assert '"kept": 342' in told
    assert (tmp_path / "tables" / "reports" / "summary.csv").read_text().startswith("group,penguins,")
    published = [
        commit["metadata"]["perago.task"]
        for commit in lakefs_repository.expect("GET", "/refs/main/commits", query={"first_parent": True})["results"]
        if "perago.task" in commit["metadata"]
    ]
    assert published == ["summarise_penguins", "clean_penguins"]
    assert "holds the fence" in shell(blocks["fence"])
    assert "0 objects" in shell(blocks["cache"])
    shell(blocks["doctor"])


def test_the_settings_block_is_that_of_the_compose_file(blocks):
    compose = (PROJECT / "compose.yaml").read_text(encoding="utf-8")
    for name, value in re.findall(r"export (\w+)=(.*)", blocks["settings"]):
        assert name.startswith("LAKECTL_")
        if "URL" not in name:
            assert value in compose
