"""What `@task` says of the cache."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from perago import TaskDefinitionError, WorkspaceSpec, task
from perago.values.cache import CacheSpec


class Empty(BaseModel):
    pass


OUTPUTS = WorkspaceSpec(outputs=["out/**"])


def declared(**options):
    @task(**{"name": "t", "owner_email": "ada@example.org", "workspace": OUTPUTS, "cache": True, **options})
    def body(workspace: Path, params: Empty) -> Empty:
        return Empty()

    return body.__perago_task__


def test_a_task_has_no_cache_unless_it_says_so():
    assert declared(cache=False).cache is None
    assert declared().cache == CacheSpec()


def test_what_a_declaration_says():
    made = declared(cache="trusted", depends=[pytest, "app.rules", "/etc/rules.csv"], cache_version="3", max_age=DAY)
    depends = ("pytest", "app.rules", "/etc/rules.csv")
    assert made.cache == CacheSpec(is_trusted=True, depends=depends, version="3", max_age=DAY)


DAY = timedelta(days=1)


def test_a_task_with_a_cache_wants_a_sandbox_unless_its_author_is_trusted():
    assert declared().sandbox.mode_on("off", lacks=None) == "enforce"
    assert declared().sandbox.mode_on("report", lacks="no Landlock") == "report"
    assert declared().sandbox.mode_on("enforce", lacks="no Landlock") == "enforce"  # which is then refused
    assert declared(sandbox="report").sandbox.mode_on("off", lacks=None) == "report"
    assert declared(cache="trusted").sandbox.mode_on("off", lacks=None) == "off"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cache": "yes"}, "cache='yes' is no choice"),
        ({"cache": 1}, "cache=1 is no choice"),
        ({"cache": False, "depends": ["app"]}, "depends has no effect without a cache"),
        ({"cache": False, "cache_version": "1"}, "cache_version has no effect"),
        ({"cache": False, "max_age": DAY}, "max_age has no effect"),
        ({"depends": "app"}, "depends is a str"),
        ({"depends": ["rules/a.csv"]}, "depends has 'rules/a.csv', which is no module and no absolute path"),
        ({"depends": [3]}, "depends has 3"),
        ({"cache_version": 3}, "cache_version=3 is not text"),
        ({"cache_version": ""}, "cache_version='' is not text"),
        ({"max_age": 7}, "max_age=7 is not a positive duration"),
        ({"max_age": timedelta()}, "is not a positive duration"),
        ({"workspace": WorkspaceSpec()}, "neither declares outputs nor is read_only"),
        ({"workspace": WorkspaceSpec(outputs=["out/**"], isolation="snapshot")}, 'isolation "snapshot"'),
        ({"network": True}, "and network, by which"),
        ({"reads": ["/models"]}, "and reads, by which"),
        ({"writes": ["/models"]}, "and writes, by which"),
        ({"sandbox": "off"}, "sandbox='off'"),
    ],
)
def test_what_can_have_no_cache_is_refused(options, said):
    with pytest.raises(TaskDefinitionError) as refused:
        declared(**options)
    assert said in str(refused.value)


def test_the_word_of_an_author_is_taken():
    declared(cache="trusted", network=True, reads=["/models"], writes=["/models"])
    declared(cache="trusted", sandbox="off")
