"""Names that come from a task's input are quoted in the commands that messages give: they are copied into a shell."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

import perago
from perago.errors import PeragoError
from perago.stores.lakefs.api.answers import LakeFSError
from perago.stores.lakefs.api.commits import Commits, full_id, no_repository
from perago.stores.lakefs.log import log
from perago.stores.lakefs.publication.publish import dirty
from perago.stores.lakefs.resolve import resolve
from perago.values.models import WorkspaceInput

EVIL = "data; $(touch x) it's \""
NOT_FOUND = LakeFSError("a call", "http://server", status=404, message="not found")
INPUT = WorkspaceInput(repository=EVIL, branch=EVIL, refType="commit", ref="a" * 64)


class Nothing:
    """A server that has nothing of what it is asked for, but repositories."""

    async def log_commits(self, *_, **__):
        raise NOT_FOUND
        yield

    async def get_repository(self, _):
        return None

    async def get_branch(self, *_):
        raise NOT_FOUND


async def drained(pages):
    return [page async for page in pages]


def raised(call):
    with pytest.raises(PeragoError) as caught:
        call()
    return str(caught.value)


MESSAGES = {
    "dirty": lambda: str(dirty(INPUT, ["a b", "c"])),
    "no repository": lambda: str(no_repository(EVIL)),
    "no full id": lambda: raised(lambda: full_id(INPUT.model_copy(update={"ref": "short"}))),
    "resolve": lambda: raised(lambda: asyncio.run(resolve(Nothing(), EVIL, "x"))),
    "log": lambda: raised(lambda: asyncio.run(drained(log(Nothing(), EVIL, "x", 1)))),
    "no branch": lambda: str(asyncio.run(Commits(Nothing()).explained(NOT_FOUND, INPUT))),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_command_holds_the_name_as_one_word(what):
    message = MESSAGES[what]()
    command = message[message.index("`") + 1 :]
    words = shlex.split(command[: command.rindex("`")])
    assert words[0] in ("perago", "lakectl")
    assert any(word.startswith(f"lakefs://{EVIL}") for word in words), message


def test_no_message_of_the_store_holds_a_name_that_is_not_quoted():
    sources = Path(perago.__file__).parent.joinpath("stores").rglob("*.py")
    assert [path.name for path in sources if "lakefs://{" in path.read_text()] == []
