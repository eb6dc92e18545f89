"""Tasks that tell what they find in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from pydantic import BaseModel

from perago import task

SECRET = "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
AT_IMPORT = os.environ.get(SECRET)


class Params(BaseModel):
    name: str = SECRET


class Answer(BaseModel):
    value: Any = None


def _seen() -> dict[str, str]:
    """What this process and a program that it starts see."""
    program = f"import os; print(os.environ.get({SECRET!r}))"
    started = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {**os.environ, "of a program": started.stdout.strip(), "at import": str(AT_IMPORT)}


@task(name="environment.plain", owner_email="t@example.org")
def plain(params: Params) -> Answer:
    return Answer(value=_seen())


@task(name="environment.asking", owner_email="t@example.org", environment=[SECRET])
def asking(params: Params) -> Answer:
    return Answer(value=_seen())


@task(name="environment.looking", owner_email="t@example.org")
def looking(params: Params) -> Answer:
    return Answer(value=os.environ[params.name])
