"""A worker remembers the repositories that it has to clean, also after it was killed."""

import pytest

from perago.worker.supervisor.housekeeping import FILE, MAX_REPOSITORIES, KnownRepositories


def test_what_was_noted_is_known_after_a_restart(tmp_path):
    known = KnownRepositories(tmp_path / "worker")
    assert known.names() == []
    for name in ("data", "models", "data"):
        known.note(name)
    assert known.names() == ["models", "data"]
    assert set(KnownRepositories(tmp_path / "worker").names()) == {"data", "models"}
    assert [path.name for path in (tmp_path / "worker").iterdir()] == [FILE]


def test_it_writes_for_new_names_only(tmp_path):
    known = KnownRepositories(tmp_path)
    known.note("data")
    (tmp_path / FILE).unlink()
    known.note("data")
    assert not (tmp_path / FILE).exists()
    known.note("models")
    assert KnownRepositories(tmp_path).names() == ["data", "models"]


def test_they_are_bounded(tmp_path):
    (tmp_path / FILE).write_text("[" + ",".join(f'"r{number}"' for number in range(MAX_REPOSITORIES + 5)) + "]")
    known = KnownRepositories(tmp_path)
    assert (len(known.names()), known.names()[0]) == (MAX_REPOSITORIES, "r5")
    known.note("new")
    assert (len(known.names()), known.names()[0], known.names()[-1]) == (MAX_REPOSITORIES, "r6", "new")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_as_none(tmp_path, content):
    (tmp_path / FILE).write_bytes(content)
    known = KnownRepositories(tmp_path)
    assert known.names() == []
    known.note("data")
    assert KnownRepositories(tmp_path).names() == ["data"]


def test_a_disk_that_refuses_costs_memory_only(tmp_path):
    (tmp_path / "file").write_text("")
    known = KnownRepositories(tmp_path / "file")
    known.note("data")
    assert known.names() == ["data"]
