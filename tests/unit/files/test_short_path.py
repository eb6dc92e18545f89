"""Short paths to directories whose own are long."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from perago.files import short_path


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A directory of temporary files like /tmp."""
    place = tmp_path / "tmp"
    place.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def private(tmp_path):
    made = tmp_path / "a-long-name-of-an-attempt" / "private"
    made.mkdir(parents=True)
    return made


def test_a_short_path_leads_there_and_goes_at_the_end(temporary, private):
    with ExitStack() as stack:
        short = Path(short_path.short_path_to(str(private), stack))
        assert short.parent == temporary / f"perago-{os.getuid()}"
        assert short.resolve() == private.resolve()
    assert list(short.parent.iterdir()) == []


def test_old_links_that_lead_nowhere_are_removed_and_young_ones_stay(temporary, private):
    links = temporary / f"perago-{os.getuid()}"
    links.mkdir(mode=0o700)
    for name, target in (("old", "nowhere"), ("young", "nowhere"), ("alive", private)):
        (links / name).symlink_to(target)
    for name in ("old", "alive"):
        os.utime(links / name, (0, 0), follow_symlinks=False)
    with ExitStack() as stack:
        short_path.short_path_to(str(private), stack)
    assert {path.name for path in links.iterdir()} == {"young", "alive"}


def test_a_directory_of_links_that_is_itself_a_link_of_others_is_not_used(tmp_path, temporary, private, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    (theirs / "lock").symlink_to("nowhere")
    os.utime(theirs / "lock", (0, 0), follow_symlinks=False)
    (temporary / f"perago-{os.getuid()}").symlink_to(theirs)
    monkeypatch.setattr(short_path, "fault_of_source", lambda path, environment: "belongs to somebody else")
    with ExitStack() as stack:
        assert short_path.short_path_to(str(private), stack) == str(private)
    assert [path.name for path in theirs.iterdir()] == ["lock"]


def test_where_none_can_be_made_the_path_is_as_it_was(temporary, private):
    (temporary / f"perago-{os.getuid()}").write_text("a file")
    with ExitStack() as stack:
        assert short_path.short_path_to(str(private), stack) == str(private)
