"""What is shown of a workflow: maps as one row, the tasks of Perago only when they fail."""

from __future__ import annotations

from pydantic import BaseModel

from perago import Flow, workflow
from perago.running.view import LineView, states_of
from perago.values.record import TryStatus
from perago.workflows.definition import workflow_of
from workflow_pipeline import OWNER, Counted, count


class Given(BaseModel):
    kept: list[int] = []


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
        self.view = LineView(self.lines.append, states_of(workflow_of(shown).graph.nodes, 0))

    def ended(self, name, status=TryStatus.COMPLETED):
        self.view.begin(name, 1)
        self.view.end(name, status, None, None if status is TryStatus.COMPLETED else "no luck", seconds=1.0)

    def row(self, name):
        return next((sign, what, text) for sign, what, _, text in self.view.rows() if name in what)


def test_a_map_is_one_row_for_all_its_tasks():
    seen = Shown()
    assert [what for _, what, *_ in seen.view.rows()] == ["pipe_count", "each ×…", "  known ×…", "  last"]
    seen.view.schedule([f"each_{number}" for number in range(1, 13)])
    seen.ended("each_1")
    seen.ended("each_2")
    seen.view.begin("each_3", 1)
    assert seen.row("each") == ("…", "each ×12", "2 done, 1 running")
    for number in range(3, 13):
        seen.ended(f"each_{number}")
    assert seen.row("each") == ("✓", "each ×12", "12 done")
    seen.ended("known_1", TryStatus.FAILED)
    assert seen.row("known") == ("✗", "  known ×1", "1 failed")
    assert len(seen.view.rows()) == 4


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
    view = LineView(lines.append, states_of(workflow_of(around).graph.nodes, 0))
    assert [what for _, what, _, _ in view.rows()][:3] == ["  pipe_count", "  inner", "    pipe_count"]
    view.begin("inner/pipe_count", 1)
    view.end("inner/pipe_count", TryStatus.COMPLETED, None, None, seconds=1.0)
    assert lines == ["inner/pipe_count: started", "inner/pipe_count: COMPLETED in 1.0 s"]
    assert [sign for sign, *_ in view.rows()][:3] == [" ", " ", "✓"]
