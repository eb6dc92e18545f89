"""A module that starts a helper when it is loaded, as one does that needs a virtual machine of another language."""

from __future__ import annotations

import os
import subprocess

from pydantic import BaseModel

from perago import task

HELPER = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


class Params(BaseModel):
    text: str = ""


class Answer(BaseModel):
    text: str
    pid: int


@task(name="helped.echo", owner_email="tests@example.org")
def echo(params: Params) -> Answer:
    assert HELPER.stdin is not None
    assert HELPER.stdout is not None
    HELPER.stdin.write(f"{params.text}\n")
    return Answer(text=HELPER.stdout.readline().strip(), pid=os.getpid())
