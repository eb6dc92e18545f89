"""docs/reference/formats.md shows the TaskDef of the tutorial's task, and the stamp as it is."""

from __future__ import annotations

import json

from pages import PROJECT, blocks, environment, run_script

PAGES = PROJECT / "docs"


def test_the_taskdef_is_that_of_the_tutorials_task(tmp_path):
    for block in blocks(PAGES / "start" / "tutorial.md", "python"):
        (tmp_path / str(block.name)).write_text(block.text, encoding="utf-8")
    run_script("perago extract means -o taskdef.json", tmp_path, environment(tmp_path))
    shown = [json.loads(block.text) for block in blocks(PAGES / "reference" / "formats.md", "json")]
    assert json.loads((tmp_path / "taskdef.json").read_text(encoding="utf-8")) in shown
