"""The page of runs: which are shown, in which order, by pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perago.engines.local import RunSummary
from perago.ui.runs import RunsQuestion, page_of
from ui_pages import HOSTILE, opened, record_run, repository, text_of

BEGUN = datetime(2026, 11, 29, 12, tzinfo=UTC)


def run(number, **fields):
    given = {"status": "COMPLETED", "task_name": "train", "params": {"n": number}, "result": {"score": -number}}
    return RunSummary(run_id=f"run-{number}", started=BEGUN + timedelta(seconds=number), **{**given, **fields})


RUNS = [run(3), run(2, status="FAILED", result=None, params={"n": "many"}), run(1, task_name="clean", params={})]


def ids(**asked):
    return [one.run_id for one in page_of(RUNS, RunsQuestion(**asked)).runs]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, ["run-3", "run-2", "run-1"]),
        ({"desc": False}, ["run-1", "run-2", "run-3"]),
        ({"task": "clean"}, ["run-1"]),
        ({"status": "FAILED"}, ["run-2"]),
        ({"where": "n > 2"}, ["run-3", "run-2"]),
        ({"where": "result.score <= -1, status=COMPLETED"}, ["run-3", "run-1"]),
        ({"sort": "params.n"}, ["run-2", "run-3", "run-1"]),
        ({"sort": "score", "desc": False}, ["run-3", "run-1", "run-2"]),
        ({"sort": "none"}, ["run-3", "run-2", "run-1"]),
    ],
)
def test_runs_are_filtered_and_sorted(asked, shown):
    assert ids(**asked) == shown


def test_pages_follow_each_other_although_new_runs_come(monkeypatch):
    first = page_of(RUNS, RunsQuestion(), shown=2)
    then = page_of([run(9), *RUNS], RunsQuestion(after=first.after), shown=2)
    assert [one.run_id for one in (*first.runs, *then.runs)] == ["run-3", "run-2", "run-1"]
    assert then.after is None


def test_params_and_results_have_columns_where_all_runs_are_of_one_task():
    assert page_of(RUNS, RunsQuestion()).columns == ()
    assert page_of(RUNS, RunsQuestion(task="train")).columns == ["params.n", "result.score"]


def test_the_page_and_its_json_have_the_recorded_runs(tmp_path):
    address = repository(tmp_path)
    done = record_run(address, "train", {"alpha": 0.5, "api_key": "k"}, {"score": 0.25})
    failed = record_run(address, "clean", {}, reason="ValueError: no rows")
    with opened(address) as browser:
        found = browser.get("/runs.json").json()
        page = text_of(browser.get("/runs").text)
    assert {one["run_id"] for one in found["runs"]} == {done, failed}
    shown = next(one for one in found["runs"] if one["run_id"] == done)
    assert (shown["params"]["alpha"], shown["result"]) == (0.5, {"score": 0.25})
    assert shown["params"]["api_key"] == "**********"
    assert "ValueError: no rows" in page
    assert "alpha 0.5" in page


def test_a_run_that_was_shown_is_shown_as_it_is_now(tmp_path):
    address = repository(tmp_path)
    with opened(address) as browser:
        assert "There are no runs yet" in text_of(browser.get("/runs").text)
        record_run(address, "train", {})
        assert browser.get("/runs.json").json()["total"] == 1


def test_what_others_wrote_is_text(tmp_path):
    address = repository(tmp_path)
    record_run(address, HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE})
    record_run(address, HOSTILE, {HOSTILE: HOSTILE}, reason=HOSTILE)
    with opened(address) as browser:
        for asked in ({}, {"task": HOSTILE, "where": HOSTILE}, {"sort": HOSTILE, "task": HOSTILE}):
            page = browser.get("/runs", params=asked).text
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            assert "\u202e" not in page
            assert "\x1b" not in page


def test_a_condition_that_is_none_is_said(tmp_path):
    with opened(repository(tmp_path)) as browser:
        answer = browser.get("/runs", params={"where": "nonsense"})
    assert answer.status_code == 400
    assert "'nonsense' is no condition" in text_of(answer.text)


def test_a_page_that_is_none_is_said_in_html_and_json(tmp_path):
    with opened(repository(tmp_path)) as browser:
        assert "There is no such page" in text_of(browser.get("/none").text)
        assert browser.get("/none.json").json()["error"]["status"] == 404
