"""A task that tells its secrets in every way that it knows, and workflows that hand them on."""

from __future__ import annotations

import base64
import json
import logging
import pprint
import subprocess
import sys
import threading
import time
import traceback
import urllib.parse
import warnings
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr

from perago import Flow, RetryPolicy, TaskContext, TaskControls, WorkspaceSpec, task, workflow

OWNER = "a@example.org"
CONTROLS = TaskControls(retry=RetryPolicy(count=0))


class Key(BaseModel):
    lines: SecretBytes


class Params(BaseModel):
    phrase: SecretStr
    pin: Secret[int] | None = None
    keys: list[dict[str, Key]] = []
    word: Annotated[Secret[str], Field(max_length=6)] | None = None
    fails: bool = False


class Told(BaseModel):
    lines: int


def tell(params: Params, context: TaskContext) -> Told:
    secrets: list[Any] = [params.phrase.get_secret_value()]
    secrets += [] if params.pin is None else [params.pin.get_secret_value()]
    secrets += [one.lines.get_secret_value() for keys in params.keys for one in keys.values()]
    for secret in secrets:
        tell_of(secret, context)
    if params.fails:
        raise ExceptionGroup(f"all of {secrets}", [ConnectionError(f"not taken: {one}", one) for one in secrets])
    return Told(lines=len(secrets))


def tell_of(secret: Any, context: TaskContext) -> None:
    text = secret.decode() if isinstance(secret, bytes) else str(secret)
    print(secret, repr(secret), f"{secret=}", json.dumps({"a": text}), json.dumps(text).replace("/", "\\/"))
    pprint.pprint({"a": [text]}, width=1000)
    print("https://example.org/" + urllib.parse.quote(text), urllib.parse.quote_plus(text))
    print("Basic", base64.b64encode(f"user:{text}".encode()).decode(), "| table |", text, "|")
    logging.getLogger("told").warning("logged %r", secret, extra={"given": {"value": secret}})
    context.logger.warning("told %s", text, using=text)
    context.progress(1, 2, f"using {text}")
    warnings.warn(f"do not use {text}", stacklevel=1)
    command = [sys.executable, "-c", "import sys; print(sys.argv); sys.exit(1)", text]
    try:
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as exc:
        print(exc)
        print("".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format()))
    sys.stdout.write("." * (16 * 1024 - 10) + text + "." * 40_000 + "\n")


@task(name="secrets.write", owner_email=OWNER, workspace=WorkspaceSpec(), controls=CONTROLS)
def write(workspace: Path, params: Params, context: TaskContext) -> Told:
    (workspace / "told.txt").write_text("told")
    return tell(params, context)


@task(name="secrets.tell", owner_email=OWNER, controls=CONTROLS)
def free(params: Params, context: TaskContext) -> Told:
    return tell(params, context)


@task(name="secrets.late", owner_email=OWNER, controls=CONTROLS)
def late(params: Params) -> Told:
    """Leaves a thread that tells its secret again and again, also when the attempt has ended."""

    def tell_late() -> None:
        for _ in range(20_000):
            logging.getLogger("told").warning("told late: %s", params.phrase.get_secret_value())
            time.sleep(0.0005)

    threading.Thread(target=tell_late, daemon=True).start()
    return Told(lines=1)


class Words(BaseModel):
    word: Secret[str]
    words: list[SecretStr]


class Word(BaseModel):
    word: SecretStr


@task(name="secrets.word", owner_email=OWNER, controls=CONTROLS)
def take(params: Word) -> Told:
    return Told(lines=len(params.word.get_secret_value()))


@workflow(name="secrets_inner", owner_email=OWNER)
def inner(flow: Flow, params: Word) -> Told:
    return flow.run(take, word=params.word)


@workflow(name="secrets_words", owner_email=OWNER)
def words(flow: Flow, params: Words) -> Told:
    flow.map(take, over=params.words, as_="word")
    flow.run(inner, word=params.word)
    return flow.run(take, word=params.word)
