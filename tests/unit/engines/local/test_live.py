"""What the process of a run notes of its tries, for others and for the record."""

from __future__ import annotations

import time

import pytest

from perago.engines.local import live
from perago.engines.local.live import LiveTries, parse_live
from perago.ports import Event, Phase
from perago.values import redaction


def began(phase):
    return Event(phase=phase, kind="started")


def ended(phase, seconds=0.1, **attributes):
    return Event(phase=phase, kind="completed", seconds=seconds, attributes=attributes)


def progress(phase, seconds=1.0, **attributes):
    return Event(phase=phase, kind="progress", seconds=seconds, attributes=attributes)


@pytest.fixture
def written(monkeypatch):
    """What was written, with no wait between two writes."""
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.0)
    return []


@pytest.fixture
def tries(written):
    return LiveTries(written.append)


def test_phases_are_added_up_in_the_order_of_their_beginning(tries):
    for event in (
        *(began(Phase.DECIDE), ended(Phase.DECIDE)),
        *(began(Phase.MATERIALIZE), ended(Phase.MATERIALIZE, 0.25)),
        *(began(Phase.DIFF), ended(Phase.DIFF, 0.0)),
        *(began(Phase.DECIDE), ended(Phase.DECIDE)),
    ):
        tries.event("t-1", event)
    assert dict(tries.ended("t-1").phases) == {"decide": 200, "materialize": 250}


def test_a_phase_that_runs_is_told_with_its_progress_and_the_last_lines(tries, written):
    before = round(time.time() * 1000)
    tries.event("t-1", began(Phase.BODY))
    tries.event("t-1", progress(Phase.BODY, done=3, total=4.0, message="x" * 5_000, other=object()))
    for number in range(30):
        tries.line("t-1", f"line {number} " + "y" * 5_000)
    tries.tell()
    notes = parse_live(written[-1])["t-1"]
    assert (notes.phase, notes.seconds) == ("body", 1.0)
    assert before <= notes.since <= time.time() * 1000
    assert (notes.progress["done"], notes.progress["total"]) == (3, 4.0)
    assert len(notes.message) == live.MAX_LINE
    assert "other" not in notes.progress
    assert [line.split()[1] for line in notes.lines] == [str(number) for number in range(20, 30)]
    assert all(len(line) == live.MAX_LINE for line in notes.lines)


def test_secrets_are_masked(tries, written):
    redaction.learn(["a-secret-of-live"])
    tries.event("t-1", began(Phase.BODY))
    tries.line("t-1", "it is a-secret-of-live")
    tries.event("t-1", progress(Phase.BODY, done=1, total=None, message="password=hunter22"))
    tries.tell()
    assert b"a-secret-of-live" not in written[-1]
    assert b"hunter22" not in written[-1]


def test_an_earlier_result_that_was_taken_is_noted_unless_a_body_runs_after_all(tries):
    for task_id in ("taken", "gone"):
        tries.event(task_id, began(Phase.DECIDE))
        tries.event(task_id, ended(Phase.DECIDE, cached_from="a" * 40))
    tries.event("gone", began(Phase.BODY))
    assert tries.ended("taken").cached_from == "a" * 40
    assert tries.ended("gone").cached_from is None


def test_what_comes_after_the_end_of_a_try_is_not_noted(tries, written):
    tries.event("t-1", began(Phase.BODY))
    tries.ended("t-1")
    tries.event("t-1", began(Phase.CLEAN))
    tries.line("t-1", "late")
    tries.tell()
    assert parse_live(written[-1]) == {}


def test_it_is_written_when_it_is_due_and_has_changed(monkeypatch):
    written = []
    monkeypatch.setattr(live, "WRITE_SECONDS", 3_600.0)
    tries = LiveTries(written.append)
    tries.event("t-1", began(Phase.BODY))
    tries.tell()
    assert written == []
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.0)
    tries.tell()
    tries.tell()
    assert len(written) == 1


def test_a_disk_that_refuses_ends_nothing(monkeypatch):
    monkeypatch.setattr(live, "WRITE_SECONDS", 0.0)

    def refuse(_content):
        raise OSError("no space")

    tries = LiveTries(refuse)
    tries.event("t-1", began(Phase.BODY))
    tries.tell()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"t": 1}', b'{"t": {"phases": {"body": "x"}}}'])
def test_what_cannot_be_read_is_nothing(content):
    assert parse_live(content) == {}
