"""The plot of numbers over the publications of a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perago.index.history import HistoryIndex
from perago.ports import CommitEntry
from perago.ui.results import HEIGHT, WIDTH, ResultsQuestion, numbers_of, plot, publications
from perago.values.history import Stamp
from tests.unit.asking.made_repository import MadeRepository
from tests.unit.index.made_history import stamp
from ui_pages import opened, repository, text_of

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


def publication(number, **stamped):
    stamp = Stamp(
        task="train",
        workflow_instance_id="w",
        reference_task_name="train",
        task_id="t",
        retry_count=0,
        scheduled_time=None,
        poll_count=None,
        execution_id="e",
        input_ref="a" * 40,
        params_digest="",
        code_digest="",
        result_digest="",
        duration_ms=1500,
        **{"params": {"alpha": number, "on": True}, "result": {"score": -number, "word": "x"}, **stamped},
    )
    time = AT + timedelta(seconds=number)
    return CommitEntry(id=f"{number:040}", parents=(), author="a", time=time, subject="s", stamp=stamp)


def test_numbers_are_those_of_results_and_params():
    assert numbers_of(publication(2)) == {
        "time": AT.timestamp() + 2,
        "result.score": -2.0,
        "params.alpha": 2.0,
        "duration": 1.5,
    }


@pytest.mark.parametrize(
    ("asked", "axes"),
    [
        ({}, ("time", "result.score")),
        ({"x": "params.alpha", "y": "duration"}, ("params.alpha", "duration")),
        ({"x": "none", "y": "none"}, ("time", "result.score")),
    ],
)
def test_what_is_plotted(asked, axes):
    page = plot(ResultsQuestion(branch="main", task="train", **asked), ["train"], [publication(1)])
    assert (page.x, page.y) == axes


def test_what_people_do_by_commands_is_no_result_of_a_task(tmp_path):
    repository = MadeRepository()
    repository.commit("main", {})
    made = repository.commit("main", {"a": 1}, stamp=stamp(task="train"))
    repository.revert("main", made)
    repository.commit("main", {"a": 1}, stamp=stamp(task="perago.distrust", distrusts=made.id))
    with HistoryIndex(tmp_path / "a.sqlite", tell=pytest.fail) as index:
        past = repository.past(index)
        found, tasks = publications(past, past.head("main"), "train")
    assert ([entry.id for entry in found], tasks) == ([made.id], {"train"})


def test_points_have_their_place():
    page = plot(ResultsQuestion(branch="main", task="train"), ["train"], [publication(n) for n in (3, 2, 1)])
    assert [(point.left, point.top) for point in page.points] == [(WIDTH, HEIGHT), (WIDTH // 2, HEIGHT // 2), (0, 0)]
    assert (page.y_range, page.without) == ((-3.0, -1.0), 0)


def test_a_value_alone_is_in_the_middle_and_others_are_counted():
    entries = [publication(1), publication(2, result={"other": 1})]
    page = plot(ResultsQuestion(branch="main", task="train", y="result.score"), ["train"], entries)
    assert [(point.left, point.top) for point in page.points] == [(WIDTH // 2, HEIGHT // 2)]
    assert page.without == 1


@pytest.mark.parametrize("value", [10**400, 1e308, float("nan"), float("inf")])
def test_what_cannot_be_placed_is_no_number(value):
    assert "result.score" not in numbers_of(publication(1, result={"score": value}))


def test_a_series_has_a_line_for_each_publication():
    entries = [
        publication(2, series={"loss": [[0, 2], [1, 1]]}),
        publication(1, series={"loss": [[0, 4]]}),
        publication(0),
    ]
    page = plot(ResultsQuestion(branch="main", task="train", y="series.loss"), ["train"], entries)
    assert (page.series, page.points, page.without) == (["series.loss"], (), 1)
    assert [(one.commit, one.count, one.params) for one in page.curves.curves] == [
        (entries[0].id, 2, {"alpha": 2, "on": True}),
        (entries[1].id, 1, {"alpha": 1, "on": True}),
    ]
    assert plot(ResultsQuestion(branch="main", task="train"), ["train"], entries).curves is None


def test_without_publications_the_page_says_so(tmp_path):
    with opened(repository(tmp_path)) as browser:
        assert "No task has published a result" in text_of(browser.get("/results").text)
        assert "has both numbers" in text_of(browser.get("/results", params={"task": "train"}).text)
