"""Which earlier result stands for the one that is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import WorkspaceSpec, task
from perago.attempt.reuse import Hit, Miss, Unproven, choose, proof_of
from perago.ports import EarlierResult
from perago.values.cache import CacheSpec, CodeParts
from perago.values.history import Stamp
from perago.values.sandbox import SandboxRecord

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class Params(BaseModel):
    pass


class Result(BaseModel):
    rows: int


def declared(**options):
    @task(
        name="t",
        owner_email="ada@example.org",
        workspace=WorkspaceSpec(outputs=["out/**"]),
        **{"cache": True, **options},
    )
    def body(workspace: Path, params: Params) -> Result:
        return Result(rows=0)

    return body.__perago_task__


def earlier(commit="a" * 40, age=timedelta(), **stamped):
    stamp = Stamp(
        task="t",
        workflow_instance_id="w",
        reference_task_name="t",
        task_id="1",
        retry_count=0,
        scheduled_time=None,
        poll_count=None,
        execution_id="e",
        input_ref="0",
        params_digest="",
        code_digest="",
        result_digest="",
    )
    stamp = replace(stamp, **{"result": {"rows": 1}, "result_exact": True, "cache_proof": "proven", **stamped})
    return EarlierResult(commit=commit, outputs=commit, origin=commit, made=NOW - age, stamp=stamp)


def test_the_newest_that_may_be_used_is_taken():
    found = [earlier("a" * 40, cache_proof=None), earlier("b" * 40), earlier("c" * 40)]
    assert choose(declared(), found, "proven", NOW) == Hit(found[1])


@pytest.mark.parametrize(
    ("options", "stamped", "mode", "is_used"),
    [
        ({}, {}, "proven", True),
        ({}, {"cache_proof": "observed"}, "proven", False),
        ({}, {"cache_proof": "observed"}, "observed", True),
        ({}, {"cache_proof": None}, "observed", False),
        ({}, {"cache_proof": "trusted"}, "observed", False),
        ({"cache": "trusted"}, {"cache_proof": "trusted"}, "proven", True),
        ({}, {"result": None}, "proven", False),
        ({}, {"result_exact": False}, "proven", False),
        ({}, {"result": {"lines": 1}}, "proven", True),  # the same code made it
        ({"cache_version": "3"}, {"result": {"lines": 1}}, "proven", False),
    ],
)
def test_what_may_be_used(options, stamped, mode, is_used):
    chosen = choose(declared(**options), [earlier(**stamped)], mode, NOW)
    assert isinstance(chosen, Hit) is is_used
    if isinstance(chosen, Miss):
        assert chosen.why.startswith("the result of aaaaaaaaaaaa is not used: ")


def test_what_is_too_old_is_not_used():
    of_a_day = declared(max_age=timedelta(days=1))
    assert isinstance(choose(of_a_day, [earlier(age=timedelta(hours=23))], "proven", NOW), Hit)
    assert isinstance(choose(of_a_day, [earlier(age=timedelta(hours=25))], "proven", NOW), Miss)
    assert isinstance(choose(of_a_day, [replace(earlier(), made=None)], "proven", NOW), Miss)


CODE = CodeParts(sources={"app.tasks": "1", "app.helper": "2"})


@pytest.mark.parametrize(
    ("cache", "sandbox", "reached", "proof"),
    [
        (CacheSpec(), "enforce", None, "proven"),
        (CacheSpec(), "enforce", SandboxRecord(mode="enforce", modules=("app.helper",)), "proven"),
        (CacheSpec(), "enforce", SandboxRecord(mode="enforce", modules=("app.other",)), "the body imported app.other"),
        (CacheSpec(version="3"), "enforce", SandboxRecord(mode="enforce", modules=("app.other",)), "proven"),
        (CacheSpec(), "report", SandboxRecord(mode="report"), "observed"),
        (
            CacheSpec(),
            "report",
            SandboxRecord(mode="report", reached=("/etc/shadow",)),
            "the body used /etc/shadow, which is not in its cache key",
        ),
        (CacheSpec(), "report", SandboxRecord(mode="report", modules=("app.other",)), "the body imported app.other"),
        (CacheSpec(), "report", None, "no sandbox recorded"),
        (CacheSpec(), "off", None, "no sandbox recorded"),
        (CacheSpec(is_trusted=True), "off", None, "trusted"),
        (CacheSpec(is_trusted=True), "report", SandboxRecord(mode="report", modules=("app.other",)), "trusted"),
    ],
)
def test_what_proves_a_result(cache, sandbox, reached, proof):
    found = proof_of(cache, CODE, sandbox, reached)
    assert (found.why if isinstance(found, Unproven) else found).startswith(proof)


@pytest.mark.parametrize("sandbox", ["enforce", "report"])
def test_a_result_of_a_body_that_opened_what_its_key_lacks_proves_nothing(sandbox):
    reached = SandboxRecord(mode=sandbox, opened=("/app/other.py",))
    found = proof_of(CacheSpec(), CODE, sandbox, reached, ["/app/other.py"])
    assert isinstance(found, Unproven)
    assert found.why.startswith("the body or a guard opened /app/other.py, which is not in its cache key")
    assert not isinstance(proof_of(CacheSpec(version="3"), CODE, sandbox, reached, ["/app/other.py"]), Unproven)
