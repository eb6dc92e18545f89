"""Keys of results: what counts, and what cannot be told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, Field, HttpUrl, SecretStr, field_serializer

from perago import WorkspaceSpec, task
from perago.attempt.cache_key import cache_key, parts_of
from perago.ports import ListedFile
from perago.values.cache import CacheKey, Untold

FILES = {"raw/a": ListedFile(1, False, "md5:" + "0" * 32)}


class Result(BaseModel):
    pass


class Plain(BaseModel):
    number: float = 0
    tags: set[str] = set()


class Excluding(BaseModel):
    number: int = Field(default=1, exclude=True)


class Serializing(BaseModel):
    text: str = ""

    @field_serializer("text")
    def _shorten(self, text: str) -> str:
        return text[:1]


class Outer(BaseModel):
    inner: Serializing = Serializing()


class Secret(BaseModel):
    token: SecretStr = SecretStr("some long secret")


def key_of(params, files=FILES, environment=None, **options):
    @task(
        name="t",
        owner_email="ada@example.org",
        workspace=WorkspaceSpec(include=["raw/**"], outputs=["out/**"]),
        **{"cache": True, "cache_version": "1", **options},
    )
    def body(workspace: Path, params: type(params)) -> Result:
        return Result()

    definition = body.__perago_task__
    return cache_key(definition, definition.workspace, params, files, environment or {})


def digest(*args, **options):
    made = key_of(*args, **options)
    assert isinstance(made, CacheKey), made
    return made.digest


def test_numbers_files_and_versions_count():
    made = [
        digest(Plain()),
        digest(Plain(number=1)),
        digest(Plain(number=float("nan"))),
        digest(Plain(), {}),
        digest(Plain(), {"raw/a": FILES["raw/a"]._replace(executable=True)}),
        digest(Plain(), {"raw/b": FILES["raw/a"]}),
        digest(Plain(), cache_version="2"),
        digest(Plain(tags={"a"})),
    ]
    assert len(set(made)) == len(made)


def test_a_variable_counts_by_its_value():
    made = {
        key.environment["RATE"]
        for value in ({}, {"RATE": "1"}, {"RATE": "2"})
        if isinstance(key := _with_rate(value), CacheKey)
    }
    assert len(made) == 3


def _with_rate(environment):
    @task(
        name="t",
        owner_email="ada@example.org",
        workspace=WorkspaceSpec(outputs=["out/**"]),
        cache=True,
        cache_version="1",
        environment=["RATE"],
    )
    def body(workspace: Path, params: Plain) -> Result:
        return Result()

    definition = body.__perago_task__
    return cache_key(definition, definition.workspace, Plain(), FILES, environment)


class Typical(BaseModel):
    max_qty: float = 100
    path: Path = Path("a")
    site: HttpUrl = HttpUrl("https://example.org")


def test_a_default_counts_as_the_same_value_when_it_is_given():
    given = Typical(max_qty=100, path="a", site="https://example.org")
    assert digest(Typical()) == digest(given)
    assert digest(Typical(), cache="trusted") == digest(given, cache="trusted")
    others = [Typical(max_qty=101), Typical(path="b"), Typical(site="https://example.com")]
    assert len({digest(each) for each in [given, *others]}) == 4


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (Excluding(), "Excluding.number"),
        (Serializing(), "Serializing.text"),
        (Outer(), "Serializing.text"),
        (Secret(), "a secret"),
    ],
)
def test_params_that_no_key_can_hold(params, named):
    untold = key_of(params)
    assert isinstance(untold, Untold)
    assert named in untold.why
    assert isinstance(key_of(params, cache="trusted"), CacheKey)


def test_no_secret_and_no_digest_of_one_is_in_what_a_stamp_tells():
    one, other = (
        key_of(Secret(token=SecretStr(text)), cache="trusted") for text in ("some long secret", "another one")
    )
    assert parts_of(one) == parts_of(other)


def test_an_author_who_is_trusted_may_have_secrets_and_other_params_still_count():
    class Both(BaseModel):
        token: SecretStr = SecretStr("some long secret")
        number: int = 1

    assert digest(Both(), cache="trusted") != digest(Both(number=2), cache="trusted")


def test_a_file_without_a_checksum_is_untold():
    assert isinstance(key_of(Plain(), {"raw/a": ListedFile(1, False, "opaque:1")}), Untold)


def test_sets_have_one_key_in_all_processes():
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from perago.attempt.cache_key import _params\n"
        "from test_cache_key import Plain\n"
        "print(_params(Plain(tags={f'tag{number}' for number in range(9)}), is_trusted=False))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
