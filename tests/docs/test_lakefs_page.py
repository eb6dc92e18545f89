"""The commands of docs/lakefs.md, run as they stand there, on a repository of the test's own."""

from __future__ import annotations

import re

import pytest

from pages import PROJECT, environment, named, run_script


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    return dict(named(PROJECT / "docs" / "lakefs.md", "sh"))


@pytest.fixture
def shell(tmp_path, lakefs_server, lakefs_repository):
    """Run a block of the page in a directory that has the examples."""
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    given = environment(
        tmp_path,
        LAKECTL_SERVER_ENDPOINT_URL=lakefs_server.url,
        LAKECTL_CREDENTIALS_ACCESS_KEY_ID=lakefs_server.access_key_id,
        LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=lakefs_server.secret_access_key,
    )

    def run(block: str) -> str:
        return run_script(block.replace("lakefs://penguins", f"lakefs://{lakefs_repository.name}"), tmp_path, given)

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
