"""docs/cache.md: its task, run as the page says, and what the page shows of it."""

from __future__ import annotations

import json
import re
import subprocess

from pages import PROJECT, blocks, environment

PAGE = PROJECT / "docs" / "cache.md"
_COMMIT = re.compile(r"\b[0-9a-f]{12}\b")


def test_the_page_s_task_is_computed_only_where_something_has_changed(tmp_path):
    for name, block in zip(("tasks.py", "flow.py"), blocks(PAGE, "python"), strict=True):
        (tmp_path / name).write_text(block.text, encoding="utf-8")
    notes = tmp_path / "notes" / "raw"
    notes.mkdir(parents=True)
    (notes / "a.txt").write_text("a few words")
    (notes / "b.txt").write_text("more")
    on_main = ("--repo", "data.git", "--branch", "main")

    def perago(*arguments: str) -> str:
        command = ["perago", *arguments, *on_main]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    perago("import", "notes")
    first = json.loads(perago("run", "tasks:count", "--json"))
    assert json.loads(perago("run", "tasks:count", "--json"))["how"] == "cached"
    (notes / "b.txt").write_text("more words")
    perago("import", "notes")
    commit = first["output"]["workspace"]["ref"][:12]
    told = perago("why", "tasks:count", "--params", '{"least": 2}')
    assert commit in told
    assert _COMMIT.sub("COMMIT", told).strip() in _COMMIT.sub("COMMIT", PAGE.read_text(encoding="utf-8"))
    assert perago("status", "flow:words") in PAGE.read_text(encoding="utf-8")
    perago("distrust", commit, "--reason", "the sensor was broken")
    assert f"distrusted: the result of {commit}: the sensor was broken" in perago("log")
