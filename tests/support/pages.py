"""Pages whose examples are run as they stand: the files that they show, their scripts, and what a terminal shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import click

from perago.cli.app import cli

PROJECT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FIRST_LINE = re.compile(r"# ([\w./-]+)\n")
_OURS = ("PERAGO_", "LAKECTL_", "CONDUCTOR_", "OTEL_", "XDG_STATE_HOME", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the name that a comment in its first line gives it."""

    language: str
    text: str

    @property
    def name(self) -> str | None:
        match = _FIRST_LINE.match(self.text)
        return match[1] if match else None


def blocks(page: Path, *languages: str) -> list[Block]:
    """The blocks of a page in these languages, in their order."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [block for block in found if block.language in languages]


def named(page: Path, language: str) -> list[tuple[str, str]]:
    """Names and texts of the blocks in one language, each of which has to have a name, in its first line."""
    found = blocks(page, language)
    nameless = [block.text for block in found if block.name is None]
    assert not nameless, "each block begins with a comment that names it"
    return [(str(block.name), block.text.partition("\n")[2]) for block in found]


def environment(home: Path, **more: str) -> dict[str, str]:
    """For a person who has Perago installed, and nothing set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "PERAGO_WORKSPACE_ROOT": str(home / "workspaces"),
        "PERAGO_CACHE_DIR": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def run_script(script: str, directory: Path, given: Mapping[str, str]) -> str:
    """Run lines of shell, all of which have to succeed; returns what they printed on stdout."""
    done = subprocess.run(
        ["bash", "-ec", script], cwd=directory, env=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def options() -> dict[str, set[str]]:
    """The options of every command, by its name."""
    assert isinstance(cli, click.Group)
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {
        name: {
            option for parameter in command.params if isinstance(parameter, click.Option) for option in parameter.opts
        }
        for name, command in found.items()
        if command is not None
    }


# ---------------------------------------------------------------- terminals


@dataclass(frozen=True)
class Command:
    """A command of a `console` block, and what the page shows of its output."""

    line: str
    shown: str


def commands(block: Block) -> Iterator[Command]:
    """The lines after `$ `, each with the lines up to the next one."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        yield Command(line, shown)


class Terminal:
    """One bash, which keeps variables and jobs from one command to the next; to be closed."""

    _MARK = "--- end of output ---"

    def __init__(self, directory: Path, given: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=directory,
            env=given,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._deadline = threading.Timer(200, self._bash.kill)
        self._deadline.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._deadline.cancel()
        self._bash.kill()
        self._bash.communicate()

    def run(self, line: str) -> str:
        """Both outputs of a command, as they come; without what bash says of jobs that were killed."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{line}\n(exit $?); code=$?; echo '{self._MARK}'; (exit $code)\n")
        self._bash.stdin.flush()
        lines = []
        for told in self._bash.stdout:
            if told.rstrip() == self._MARK:
                return "".join(line for line in lines if not re.match(r"bash: line \d+: +\d+ Killed", line))
            lines.append(told)
        raise AssertionError(f"the terminal ended, or was too slow, in: {line}\n{''.join(lines)}")


# ---------------------------------------------------------------- comparing

_VARIES = re.compile(
    r"(?P<run>\d{8}-\d{6}-[a-z0-9]{6})"
    r"|(?P<id>\b[0-9a-f]{12,64}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?: ?[+-]\d{4})?)?)"
    r"|(?P<span>\b\d+(?:\.\d+)? ?s\b(?:, [\d.]+ \w+/s)?)"
    r"|(?P<process>process \d+ on \S+?(?=[,.]))"
    r"|(?P<worker>(?<= s by )\S+)"
    r"|(?P<directory>/(?:[^\s/]+/)+)"
)
_BOUND = ("run", "id")
_CODE = re.compile(r"^ +code +[0-9a-f]{12}(?: \(dirty\))?\n", re.MULTILINE)
"""The commit of the clone's code. A clone that others can write has none, and one that is worked on is dirty."""


@dataclass
class Shown:
    """What a page shows, against what happens: ids, times and places differ, all else is the same.

    Attributes:
        now: by each id that the page shows, what it is this time.
    """

    now: dict[str, str] = field(default_factory=dict)

    def as_of_now(self, line: str) -> str:
        """A command of the page with this time's ids."""
        return _VARIES.sub(lambda match: self.now.get(match[0], match[0]), line)

    def compare(self, line: str, shown: str, told: str) -> None:
        """Fail where a command told something else than the page shows. A line `...` stands for any lines."""
        shown, told = _CODE.sub("", shown), _CODE.sub("", told)
        before, *behind = shown.split("...\n", 1)
        if behind:
            lines, last = told.splitlines(keepends=True), len(behind[0].splitlines())
            told = "".join([*lines[: len(before.splitlines())], *(lines[-last:] if last else [])])
            shown = before + behind[0]
        assert fixed(shown) == fixed(told), f"$ {line}\n{told}"
        for there, here in zip(_VARIES.finditer(shown), _VARIES.finditer(told), strict=True):
            if there.lastgroup in _BOUND:
                known = self.now.setdefault(there[0], here[0])
                assert known == here[0], f"$ {line}\nthe page shows {there[0]} twice, and these are two:\n{told}"


def fixed(text: str) -> list[str]:
    """The lines of a text, with names in the place of what differs each time."""
    return _VARIES.sub(lambda match: f"<{match.lastgroup}>", text).splitlines()
