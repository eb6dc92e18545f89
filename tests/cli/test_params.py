"""Params from the command line."""

from __future__ import annotations

import io

import click
import pytest
from pydantic import BaseModel, Field, SecretStr

from perago.cli.run.params import read_params


class Model(BaseModel):
    text: str = ""
    maybe: str | None = None
    count: int = 0
    items: list[int] = []
    secret: SecretStr = SecretStr("")
    renamed: str = Field(default="", alias="other-name")


def test_nothing_given_is_an_empty_object():
    assert read_params(None, (), Model) == {}


def test_an_object_comes_as_text_from_a_file_or_from_stdin(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_text('{"count": 2}')
    monkeypatch.setattr("sys.stdin", io.StringIO('{"count": 3}'))
    assert read_params('{"count": 1}', (), Model) == {"count": 1}
    assert read_params(f"@{path}", (), Model) == {"count": 2}
    assert read_params("-", (), Model) == {"count": 3}


def test_pairs_go_over_the_object():
    assert read_params('{"count": 1, "text": "a"}', ("count=2", "items=[1, 2]"), Model) == {
        "count": 2,
        "text": "a",
        "items": [1, 2],
    }


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("text=plain words", "plain words"),
        ("text=1.10", "1.10"),
        ("text=true", "true"),
        ('text="quoted"', "quoted"),
        ("text=a=b", "a=b"),
        ("text=", ""),
        ("maybe=null", None),
        ("maybe=5", "5"),
        ("secret=123456", "123456"),
        ("other-name=7", "7"),
        ("count=7", 7),
        ("count=seven", "seven"),
        ("unknown=7", 7),
    ],
)
def test_a_value_is_json_unless_it_is_none_or_the_field_takes_text(pair, value):
    assert list(read_params(None, (pair,), Model).values()) == [value]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{", "--params is not JSON"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[1]", "must be a JSON object, as in '{\"key\": 1}', not an array"),
        ('"hunter2"', "not text"),
        ("7", "not a number"),
        ("null", "not null"),
        ("true", "not true or false"),
        ("@nowhere.json", "nowhere.json cannot be read: No such file"),
    ],
)
def test_what_is_no_object_is_refused_without_showing_it(params, said):
    with pytest.raises(click.UsageError) as caught:
        read_params(params, (), Model)
    assert said in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_pair_needs_a_name_and_a_value():
    for pair, fault in (("text", "'text' has no '='"), ("=x", "there is no key before the '='")):
        with pytest.raises(click.UsageError, match=f"--param takes key=value; {fault}"):
            read_params(None, (pair,), Model)


def test_a_byte_order_mark_is_passed_over(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_bytes(b'\xef\xbb\xbf{"count": 2}')
    monkeypatch.setattr("sys.stdin", io.StringIO('\ufeff{"count": 3}'))
    assert read_params(f"@{path}", (), Model) == {"count": 2}
    assert read_params("-", (), Model) == {"count": 3}


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "p.json"
    path.write_bytes(b'{"text": "\xff"}')
    with pytest.raises(click.UsageError, match="is not UTF-8"):
        read_params(f"@{path}", (), Model)


def test_a_run_warns_of_a_param_that_is_ignored_and_goes_on(perago):
    said = perago("run", "cli_bodies:add", "--param", "numbers=[1, 2]", "--param", "lable=x")
    assert said.code == 0
    assert said.json == {"total": 3}
    assert "warning: the task ignores unknown params: 'lable'; it has label, numbers." in said.err
