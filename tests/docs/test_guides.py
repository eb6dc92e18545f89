"""No page names a setting, a command or an option that is not there."""

from __future__ import annotations

import re

import pytest

from pages import PROJECT, options
from perago.settings.variables import Variables

PAGES = [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md"), *(PROJECT / "docs" / "explanation").glob("*.md")]
BESIDES = {"PERAGO_TRACEBACK", "PERAGO_MODULES", "PERAGO_SLOTS", "CONDUCTOR_WORKER_ALL_DOMAIN"}
"""No settings: for whoever looks for a fault, the systemd unit's own two, and one that is not read."""

_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def text(request):
    return request.param.read_text(encoding="utf-8")


def test_every_setting_is_one(text):
    named = set(re.findall(r"\b(?:PERAGO|CONDUCTOR|LAKECTL)_[A-Z_]*[A-Z]\b", text))
    assert named - BESIDES <= set(Variables.model_fields)


def test_every_command_is_there_and_takes_its_options(text):
    code = [*_FENCED.findall(text), *re.findall(r"`([^`\n]+)`", _FENCED.sub("", text))]
    taken = options()
    for name, rest in re.findall(r"\bperago ([a-z]+)\b([^\n#|]*)", "\n".join(code)):
        assert name in taken
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= taken[name] | {"--help"}
