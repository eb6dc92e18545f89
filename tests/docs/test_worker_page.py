"""docs/worker.md names no setting and no command that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner

from perago.cli.app import cli
from perago.settings.variables import Variables

PAGE = Path(__file__).parents[2] / "docs" / "worker.md"


def test_every_setting_of_the_page_is_one():
    named = set(re.findall(r"\b(?:PERAGO|CONDUCTOR|LAKECTL)_[A-Z_]+\b", PAGE.read_text()))
    assert named
    assert named <= set(Variables.model_fields)


def test_every_command_and_option_of_the_page_is_there():
    text = PAGE.read_text()
    commands = set(re.findall(r"perago ([a-z]+)", text))
    assert {"register", "start", "status"} <= commands
    told = "".join(CliRunner().invoke(cli, [name, "--help"]).output for name in sorted(commands))
    for option in set(re.findall(r"(?<!\w)--[a-z][a-z-]+", text)):
        assert option in told, option
