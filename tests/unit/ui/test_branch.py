"""The page of a branch: its history as cards, by pages, with filters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from perago.asking.log import Wanted
from perago.errors import TaskInputError
from perago.running.history import CommitSummary
from perago.running.repos.address import parse_address
from perago.ui import branch
from perago.ui.branch import BranchQuestion, cards_of, wanted_by
from ui_pages import HOSTILE, opened, repository, text_of
from waiting import wait_for

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
OWN = CommitSummary(
    commit="c" * 40,
    parents=(),
    kind="commit",
    time=AT,
    author="Ada Byron",
    subject="by hand",
    added=1,
    modified=0,
    deleted=0,
)
MADE = replace(OWN, kind="publication", author="worker", run_id="run-1", task_name="train", path="train")


def test_a_question_is_what_the_command_would_ask():
    asked = BranchQuestion(
        name="main", task="t", run="r", path="a/**", author="a", since="2d", until="2026-11-29T12:00Z"
    )
    wanted = wanted_by(asked, AT)
    assert wanted == Wanted(paths=("a/**",), task="t", run="r", author="a", since=AT - timedelta(days=2), until=AT)
    assert wanted_by(BranchQuestion(name="main"), AT) == Wanted()


def test_a_time_that_is_none_is_said():
    with pytest.raises(TaskInputError, match="is not a time"):
        wanted_by(BranchQuestion(name="main", since="yesterday"), AT)


def test_history_ends_a_day_before_the_first_that_is_asked_for():
    wanted = Wanted(since=AT)
    assert wanted.is_before(AT - timedelta(days=2))
    assert not wanted.is_before(AT - timedelta(hours=2))
    assert not Wanted().is_before(AT - timedelta(days=2))


def test_commits_of_a_run_that_follow_each_other_are_one_card():
    other = replace(MADE, run_id="run-2")
    cards = cards_of([MADE, MADE, OWN, OWN, MADE, other], {"run-1": "pipeline"})
    assert [(card.run_name, len(card.commits)) for card in cards] == [
        ("pipeline", 2),
        (None, 1),
        (None, 1),
        ("pipeline", 1),
        (None, 1),
    ]


@pytest.fixture
def history(tmp_path):
    """A repository with five commits of people; their messages are hostile."""
    address = repository(tmp_path)
    with parse_address(address).open() as opened_one:
        for number in range(4):
            (tmp_path / "source" / f"{number}.txt").write_text(str(number))
            opened_one.import_directory(tmp_path / "source", "main", f"change {number} {HOSTILE}")
    return address


def test_pages_follow_each_other_to_the_first_commit(history, monkeypatch):
    monkeypatch.setattr(branch, "SHOWN", 2)
    seen, address = [], "/branch.json"
    with opened(history) as browser:
        while address:
            page = browser.get(address).json()
            seen += [commit["subject"] for card in page["cards"] for commit in card["commits"]]
            address = page["before"] and f"/branch.json?before={page['before']}"
    assert [subject.split("<")[0] for subject in seen] == [
        *(f"change {number} " for number in (3, 2, 1, 0)),
        "Imported raw data",
    ]


def test_only_commits_that_changed_a_path(history):
    with opened(history) as browser:
        cards = browser.get("/branch.json", params={"path": "2.txt"}).json()["cards"]
    assert [commit["subject"].split("<")[0] for card in cards for commit in card["commits"]] == ["change 2 "]


def test_a_page_stops_looking_and_says_where(history, monkeypatch):
    monkeypatch.setattr(branch, "MAX_LOOKED_AT", 3)
    with opened(history) as browser:
        page = browser.get("/branch.json", params={"task": "none"}).json()
        assert (page["cards"], page["looked_at"]) == ([], 3)
        assert page["before"]
        assert "None of these 3 commits fits" in text_of(browser.get("/branch", params={"task": "none"}).text)


def test_what_there_is_no_time_for_is_read_in_the_background(history):
    """No page waits for what commits changed: on lakeFS, that may take minutes."""
    with opened(history, read_seconds=0.0) as browser:
        first = browser.get("/branch.json").json()
        assert (len(first["uncounted"]), first["is_reading"]) == (5, True)
        wait_for(lambda: not browser.get("/branch.json").json()["is_reading"], "the commits to be read")
        page = browser.get("/branch.json").json()
        assert page["uncounted"] == []
        assert {commit["added"] for card in page["cards"] for commit in card["commits"]} == {1}


def test_the_path_of_a_file_is_followed_as_far_as_it_is_known(history):
    with opened(history, read_seconds=0.0) as browser:
        asked = {"path": "raw/**"}
        told = browser.get("/branch", params=asked).text
        assert "still reading what commits changed" in text_of(told)
        assert 'rel="next"' in told

        def found():
            page = browser.get("/branch.json", params=asked).json()
            return [commit["subject"] for card in page["cards"] for commit in card["commits"]]

        wait_for(lambda: found() == ["Imported raw data"], "the commit of the directory")
        assert "still reading" not in text_of(browser.get("/branch", params=asked).text)


def test_what_others_wrote_is_text(history):
    with opened(history) as browser:
        for asked in ({}, {"task": HOSTILE, "author": HOSTILE, "run": HOSTILE}):
            page = browser.get("/branch", params=asked).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page


@pytest.mark.parametrize("asked", [{"name": "none"}, {"name": HOSTILE}, {"before": "x"}, {"before": "f" * 40}])
def test_what_is_not_there_is_said(history, asked):
    with opened(history) as browser:
        answer = browser.get("/branch", params=asked)
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


def test_without_a_repository_the_page_says_so():
    with opened(None) as browser:
        answer = browser.get("/branch")
    assert answer.status_code == 404
    assert "perago ui --repo" in text_of(answer.text)
