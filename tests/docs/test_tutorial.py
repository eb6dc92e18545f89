"""The tutorial, done from its top to its bottom by somebody who types what stands there."""

from __future__ import annotations

from pages import PROJECT, Shown, Terminal, blocks, commands, environment

PAGE = PROJECT / "docs" / "start" / "tutorial.md"

MEANWHILE = {"sleep 3": 'until ls "$PERAGO_WORKSPACE_ROOT"/*/workspace/raw/*; do sleep 0.1; done >/dev/null 2>&1'}
"""Where a person waits, the test looks: the body is at work when its files are there."""


def test_the_tutorial_shows_what_happens(tmp_path):
    directory = tmp_path / "weather"
    directory.mkdir()
    shown = Shown()
    with Terminal(directory, environment(tmp_path, PYTEST_ADDOPTS="-p no:cacheprovider")) as terminal:
        for block in blocks(PAGE, "python", "console"):
            if block.language == "python":
                assert block.name is not None, "each file begins with its name"
                (directory / block.name).write_text(block.text, encoding="utf-8")
                continue
            for command in commands(block):
                line = MEANWHILE.get(command.line, shown.as_of_now(command.line))
                line = line.replace("/path/to/perago", str(PROJECT))
                shown.compare(command.line, command.shown, terminal.run(line))
    assert len(shown.now) > 10
