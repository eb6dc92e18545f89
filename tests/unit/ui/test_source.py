"""What the page shows, and who ends what it reads in the background."""

from __future__ import annotations

import threading

from perago.asking.past import Past
from perago.running.repos.address import parse_address
from perago.ui import source as sources
from perago.ui.branch import BranchQuestion, branch_page
from perago.ui.source import Source
from ui_pages import repository
from waiting import wait_for

LONG = 60.0


def test_reading_in_the_background_ends_with_the_source(tmp_path, monkeypatch):
    address, begun, may_go_on, read = repository(tmp_path), threading.Event(), threading.Event(), []
    with parse_address(address).open() as there:
        for number in range(3):
            (tmp_path / "source" / "more.txt").write_text(str(number))
            there.import_directory(tmp_path / "source", "main", f"change {number}")

    def stepped(_past, entries):
        read.extend(entries)
        begun.set()
        may_go_on.wait(LONG)
        return []

    monkeypatch.setattr(Past, "stepped", stepped)
    monkeypatch.setattr(sources, "READ_AT_ONCE", 1)
    monkeypatch.setattr(sources, "END_SECONDS", 0.0)
    source = Source(parse_address(address), "main", read_seconds=0.0)
    assert branch_page(source, BranchQuestion(name="main")).is_reading
    assert begun.wait(LONG)
    source.close()
    may_go_on.set()
    wait_for(lambda: not any(one.name == "perago-changes" for one in threading.enumerate()), "the end of the thread")
    assert len(read) == 1


def test_a_source_that_reads_nothing_ends_at_once():
    Source(None, "main").close()
