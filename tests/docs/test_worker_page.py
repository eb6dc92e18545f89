"""docs/worker.md names no setting and no command that is not there."""

from __future__ import annotations

import re

from pages import PROJECT, options

from perago.settings.variables import Variables

PAGE = PROJECT / "docs" / "worker.md"


def test_every_setting_of_the_page_is_one():
    named = set(re.findall(r"\b(?:PERAGO|CONDUCTOR|LAKECTL)_[A-Z_]+\b", PAGE.read_text()))
    assert named
    assert named <= set(Variables.model_fields)


def test_every_command_and_option_of_the_page_is_there():
    text = PAGE.read_text()
    commands = set(re.findall(r"perago ([a-z]+)", text))
    assert {"register", "start", "status"} <= commands
    taken = set().union(*(options()[name] for name in commands))
    assert set(re.findall(r"(?<!\w)--[a-z][a-z-]+", text)) <= taken
