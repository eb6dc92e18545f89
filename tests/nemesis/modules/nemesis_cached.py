"""Two tasks with a cache: what they make depends on files and a number, whichever workflow asks for it.

It imports nothing that heeds orders, or that would be in the key. Modules beside it heed them for it.
"""

from __future__ import annotations

import time
from pathlib import Path

from nemesis_controls import CONTROLS, OWNER
from pydantic import BaseModel

from perago import WorkspaceSpec, require_file, task

SLOW_SECONDS = 2.5
"""For an even number, so that others come to wait for the result."""


class Numbered(BaseModel):
    number: int


class Made(BaseModel):
    text: str


@task(
    name="nemesis.digest",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["readme.txt"], outputs=["digest.txt"], pre=[require_file("readme.txt")]),
    controls=CONTROLS,
    cache=True,
)
def digest(workspace: Path, params: Numbered) -> Made:
    return _write(workspace / "digest.txt", f"{params.number} of {(workspace / 'readme.txt').read_text()}", params)


@task(
    name="nemesis.derive",
    owner_email=OWNER,
    workspace=WorkspaceSpec(include=["digest.txt"], outputs=["derived/**"], pre=[require_file("digest.txt")]),
    controls=CONTROLS,
    cache=True,
)
def derive(workspace: Path, params: Numbered) -> Made:
    text = f"{params.number} derived of {(workspace / 'digest.txt').read_text()}"
    return _write(workspace / "derived" / "all.txt", text, params)


def _write(path: Path, text: str, params: Numbered) -> Made:
    time.sleep(0.0 if params.number % 2 else SLOW_SECONDS)
    path.write_text(text)
    return Made(text=text)
