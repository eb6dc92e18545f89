"""The examples of docs/notebooks.md, on the example data."""

from __future__ import annotations

from pages import PROJECT, environment, named, run_script

PAGE = PROJECT / "docs" / "notebooks.md"
READ = """
print(len(names), content.splitlines()[0].decode())
"""
SHOWN = """
print(type(done.result).__name__, done.result.kept > 100, len(done.commit))
print(done.changes)
"""


def test_the_example_does_what_its_comments_say(tmp_path):
    (run, code), (look, reading) = named(PAGE, "python")
    (tmp_path / run).write_text(code + SHOWN, encoding="utf-8")
    (tmp_path / look).write_text(reading + READ, encoding="utf-8")
    importing = f"perago import {PROJECT}/examples/data --repo penguins.git --branch main >&2"
    script = f"{importing}\npython {run}\npython {look}\n"
    said = run_script(script, tmp_path, environment(tmp_path, PYTHONPATH=str(PROJECT / "examples"))).splitlines()
    assert said[0] == "CleanResult True 40"
    assert said[1].startswith("Changes(added=('clean/")
    assert said[2].startswith("publication clean_penguins {'islands': ['Biscoe']} ")
    assert said[3].startswith("commit None None ")
    assert said[4].startswith("COMPLETED ")
    assert said[5].startswith("2 species,island,year,")
