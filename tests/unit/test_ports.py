"""A phase is known wherever one has to be: in the table beside it, to the nemesis, and in the pages."""

from __future__ import annotations

import re
from pathlib import Path

from nemesis import cells
from perago.ports import PHASES, Phase

DOCS = Path(__file__).parents[2] / "docs"


def emitted() -> set[str]:
    return {phase.value for phase, facts in PHASES.items() if facts.is_emitted}


def test_each_phase_has_its_facts():
    assert set(PHASES) == set(Phase)


def test_the_nemesis_strikes_in_each_phase():
    assert set(cells.PHASES) == {phase.value for phase in Phase}


def test_the_page_on_attempts_has_a_row_for_each_phase():
    text = (DOCS / "explanation" / "attempts.md").read_text()
    table = text.split("## The phases")[1].split("\n\n")[1]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == emitted()


def test_the_page_on_testing_names_each_phase_that_a_test_can_choose():
    text = (DOCS / "testing.md").read_text()
    sentence = text.split("`at` causes an event at the start of a phase:")[1].split("The test fails")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == emitted()


def test_what_may_lose_a_swap_or_leave_staged_work_comes_after_the_body():
    for facts in PHASES.values():
        assert facts.is_publishing or not (facts.may_lose_swap or facts.may_leave_staged)
