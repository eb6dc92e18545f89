"""What is shown of a workflow: maps as one row, the tasks of Perago only when they fail."""

from __future__ import annotations

import io
import re
import sys
from typing import Literal

import pytest
from pydantic import BaseModel
from rich.cells import cell_len

from perago import Flow, workflow
from perago.cli.run import workflow_view
from perago.cli.run.workflow_view import TreeView, tree_lines
from perago.running.rows import Row
from perago.running.task_state import item_text, states_of
from perago.running.view import LineView
from perago.values.record import TryStatus
from perago.worker.process.messages import Log
from perago.workflows.definition import workflow_of
from screens import screens
from workflow_pipeline import OWNER, Counted, count


class Given(BaseModel):
    kept: list[int] = []


class Mode(BaseModel):
    mode: Literal["a", "b"] = "a"


@workflow(name="shown", owner_email=OWNER)
def shown(flow: Flow, params: Given) -> Counted:
    flow.run(count)
    found = flow.map(count, over=params.kept, as_="kept", ref_="each")
    with flow.parallel():
        flow.map(count, over=[1, 2], as_="kept", ref_="known")
        flow.run(count, ref_="last")
    return flow.output(Counted, mean=found[0].mean)


class Shown:
    def __init__(self):
        self.lines: list[str] = []
        self.view = LineView(self.lines.append, states_of(workflow_of(shown).graph.nodes))

    def ended(self, name, status=TryStatus.COMPLETED):
        self.view.begin(name, 1)
        self.view.end(name, status, None, None if status is TryStatus.COMPLETED else "no luck", seconds=1.0)

    def row(self, name):
        return next((row.sign, row.name, row.whole_text) for row in self.view.rows() if name in row.name)


def test_a_map_is_one_row_for_all_its_tasks():
    seen = Shown()
    assert [row.name for row in seen.view.rows()] == ["pipe_count", "each ×…", "known ×…", "last"]
    seen.view.schedule([f"each_{number}" for number in range(1, 13)])
    seen.ended("each_1")
    seen.ended("each_2")
    seen.view.begin("each_3", 1)
    assert seen.row("each") == ("…", "each ×12", "━───────── 2 of 12 done, 1 running")
    for number in range(3, 13):
        seen.ended(f"each_{number}")
    assert seen.row("each") == ("✓", "each ×12", "━━━━━━━━━━ 12 of 12 done")
    seen.ended("known_1", TryStatus.FAILED)
    assert seen.row("known") == ("✗", "known ×1", "────────── 0 of 1 done, 1 failed (no. 1)")
    assert len(seen.view.rows()) == 4


def test_tasks_of_a_run_that_goes_on_are_shown_as_they_were_left_and_not_told_of():
    seen = Shown()
    left = {"input_data": {}, "ref": "0123456789abcdef", "seconds": 4.0}
    seen.view.recall("pipe_count", 1, TryStatus.COMPLETED, reason=None, **left)
    seen.view.recall("last", 2, TryStatus.FAILED, reason="no luck", **left)
    assert seen.row("pipe_count") == ("✓", "pipe_count", "commit 0123456789ab")
    assert seen.row("last") == ("✗", "last", "try 2 no luck")
    assert seen.lines == []


def test_lines_tell_of_each_task_of_a_map():
    seen = Shown()
    seen.ended("each_1")
    seen.ended("each_2", TryStatus.FAILED)
    assert seen.lines == [
        "each_1: started",
        "each_1: COMPLETED in 1.0 s",
        "each_2: started",
        "each_2: FAILED in 1.0 s, no luck",
    ]


def test_lines_name_the_item_of_a_map_where_it_is_known():
    seen = Shown()
    seen.view.begin("known_2", 1, {"params": {"kept": 2}})
    seen.view.end("known_2", TryStatus.COMPLETED, None, None, seconds=1.0)
    assert seen.lines == ["known_2 (2): started", "known_2 (2): COMPLETED in 1.0 s"]


def test_tasks_of_perago_are_shown_only_when_they_fail():
    seen = Shown()
    seen.ended("each_items")
    assert (seen.lines, len(seen.view.rows())) == ([], 4)
    seen.ended("each_items", TryStatus.FAILED)
    assert seen.lines == ["each_items: FAILED in 1.0 s, no luck"]
    assert seen.row("each_items") == ("✗", "each_items", "no luck")


def test_a_task_whose_name_only_looks_numbered_is_a_row_of_its_own():
    seen = Shown()
    seen.ended("other_1")
    assert seen.row("other_1")[0] == "✓"


@workflow(name="around", owner_email=OWNER)
def around(flow: Flow) -> Counted:
    with flow.parallel():
        flow.run(count)
        inner = flow.run(shown, ref_="inner")
    return flow.output(Counted, mean=inner.mean)


def test_the_tasks_of_a_sub_workflow_are_below_it():
    lines: list[str] = []
    view = LineView(lines.append, states_of(workflow_of(around).graph.nodes))
    assert [row.name for row in view.rows()][:3] == ["pipe_count", "inner", "  pipe_count"]
    view.begin("inner/pipe_count", 1)
    view.end("inner/pipe_count", TryStatus.COMPLETED, None, None, seconds=1.0)
    assert lines == ["inner/pipe_count: started", "inner/pipe_count: COMPLETED in 1.0 s"]
    assert [row.sign for row in view.rows()][:3] == [" ", " ", "✓"]


def test_a_map_names_failed_items_and_tells_the_time_left():
    seen = Shown()
    seen.view.schedule([f"each_{number}" for number in range(1, 11)])
    for number in range(1, 5):
        seen.view.begin(f"each_{number}", 1, {"params": {"kept": number * 11}})
        status = TryStatus.FAILED if number == 3 else TryStatus.COMPLETED
        seen.view.end(f"each_{number}", status, None, None)
    _, name, text = seen.row("each")
    assert (name, text) == ("each ×10", "━━━─────── 3 of 10 done, 1 failed (33), 0 s left")
    assert seen.lines[5].startswith("each_3 (33): FAILED in ")
    seen.view.retry("each_3", 110.0)
    assert seen.row("each")[2] == "━━━─────── 3 of 10 done, 1 to retry in 2 min, 2 min left"


def test_a_long_item_is_shortened():
    shown = item_text("kept", {"params": {"kept": "a" * 50 + ".csv"}})
    assert (len(shown), shown[-4:]) == (20, ".csv")


def test_a_tree_says_which_item_and_try_failed():
    told = io.StringIO()
    view = TreeView(workflow_of(shown).graph, told)
    for number in (1, 2):
        view.begin("each_3", number, {"params": {"kept": 33}})
        view.end("each_3", TryStatus.FAILED, None, "no luck")
    assert told.getvalue().splitlines() == ["each_3 (33): FAILED: no luck", "each_3 (33): try 2 FAILED: no luck"]


def test_lines_leave_one_tree_below_them(monkeypatch):
    """While the tree is drawn as often as it can be: the first one is easily drawn twice."""
    monkeypatch.setattr(workflow_view, "REFRESHES_A_SECOND", 1_000)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            told = io.StringIO()
            view = TreeView(workflow_of(shown).graph, told)
            with view.live():
                for number in range(20):
                    view.line(f"line {number}")
            last = screens(told.getvalue())[-1].splitlines()
            assert len([line for line in last if line.startswith("line ")]) == 20
            assert len([line for line in last if "pipe_count" in line]) == 1
    finally:
        sys.setswitchinterval(before)


def test_a_secret_item_is_not_shown():
    assert item_text("api_token", {"params": {"api_token": "hunter2"}}) == ""
    assert item_text("kept", {"params": {"kept": {"name": "b.csv", "size": 3}}}) == "b.csv"


def test_a_retry_shows_its_countdown_and_what_failed():
    seen = Shown()
    seen.ended("pipe_count", TryStatus.FAILED)
    seen.view.retry("pipe_count", 110.0)
    assert seen.row("pipe_count") == ("↻", "pipe_count", "try 2 in 2 min: no luck")
    seen.view.begin("pipe_count", 2)
    assert seen.row("pipe_count")[0] == "…"


@workflow(name="chosen", owner_email=OWNER)
def chosen(flow: Flow, params: Mode) -> None:
    with flow.when(params.mode) as mode:
        with mode.case("a"):
            flow.run(count, ref_="in_a")
        with mode.otherwise():
            flow.run(count, ref_="in_others")


def test_a_case_that_is_not_taken_differs_from_one_that_waits():
    view = LineView(print, states_of(workflow_of(chosen).graph.nodes))
    assert [(row.sign, row.text) for row in view.rows()] == [(" ", ""), (" ", "")]
    view.choose({"when_mode": None})
    assert [(row.sign, row.text) for row in view.rows()] == [("·", "case not taken"), (" ", "")]


def test_nothing_of_a_task_is_told_after_the_end_of_the_workflow_around_it():
    lines: list[str] = []
    view = LineView(lines.append, states_of(workflow_of(around).graph.nodes))
    view.begin("inner", 1)
    view.begin("inner/pipe_count", 1)
    view.end("inner", TryStatus.FAILED, None, "no luck", seconds=1.0)
    view.printed("inner/pipe_count", "still here")
    view.end("inner/pipe_count", TryStatus.CANCELED, None, None, seconds=1.0)
    assert [line.partition(" in ")[0] for line in lines[2:]] == ["inner/pipe_count: CANCELED", "inner: FAILED"]


def test_lines_of_a_body_s_log_name_its_task():
    lines: list[str] = []
    view = LineView(lines.append, states_of(workflow_of(shown).graph.nodes))
    view.begin("pipe_count", 1)
    view.logged("pipe_count", Log(logger="app.count", level=30, text="odd", created=0.0))
    assert lines[1:] == ["pipe_count: WARNING app.count: odd"]


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_names_keep_head_and_tail_and_signs_and_times_stay(columns):
    long = "featurize_the_measurements_of_all_stations_by_hour_and_day"
    rows = [
        Row("✗", f"    {long}", "1234.5 s", "ValueError: " + "x" * 300),
        Row("✓", "short", "0.1 s", "commit 41db2338f66f"),
        Row("…", "  日本語の名前がとても長いタスクの名前の例です_終わり", "3.0 s", "body"),
    ]
    lines = [line for line, _ in tree_lines(rows, columns)]
    assert all(cell_len(line) <= columns for line in lines)
    assert re.match(r"✗     featur.*day +1234\.5 s ValueError: x+…$", lines[0])
    assert re.match(r"✓ short +0\.1 s commit 41db", lines[1])
    assert re.match(r"…   日本.*終わり +3\.0 s body$", lines[2])


@pytest.mark.parametrize("columns", [60, 80, 110, 200])
def test_all_of_a_map_is_shown_on_lines_of_its_own_where_it_does_not_fit(columns):
    parts = ("3 running", "1 to retry", "2 failed (2026-05…ina.csv, no. 7)", "25 s left")
    row = Row("…", "  clean_all_stations ×40", "31.0 s", "━━━━━───── 22 of 40 done", more=parts)
    shown = " ".join(line for line, _ in tree_lines([row], columns))
    assert all(part in shown for part in (row.text, *parts))
