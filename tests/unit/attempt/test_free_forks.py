"""A body may fork; the fork ends where the body does, and the attempt goes on once."""

import os
import sys

import pytest
from pydantic import BaseModel

import forks
from perago import task
from perago.attempt.free import invoke_workspace_free_task

CAME_OUT = 99


class Params(BaseModel):
    way: str


class Answer(BaseModel):
    exit_code: int


@task(name="forks", owner_email="tests@example.org")
def fork(params: Params) -> Answer:
    """The fork comes to the end of the body in one way or another; its parent tells how that was."""
    child = forks.fork()
    if child == 0:
        match params.way:
            case "returns":
                return Answer(exit_code=-1)
            case "fails":
                raise ValueError("in the fork")
            case "exits":
                sys.exit(3)
            case "exits in silence":
                sys.exit()
            case "exits with a text":
                sys.exit("it went wrong")
    return Answer(exit_code=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.parametrize(
    ("way", "code"),
    [("returns", 0), ("fails", 1), ("exits", 3), ("exits in silence", 0), ("exits with a text", 1)],
)
def test_a_fork_does_not_come_out_of_the_body(way, code):
    owner = os.getpid()
    try:
        result = invoke_workspace_free_task(fork.__perago_task__, {"params": {"way": way}})
    finally:
        if os.getpid() != owner:
            os._exit(CAME_OUT)
    assert result == {"result": {"exit_code": code}}
