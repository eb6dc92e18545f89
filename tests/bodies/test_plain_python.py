"""A body sees the process, and leaves the files, that it would as a program of its own: each time, whatever the body
before it did. Each test is a row of the page "What a body may do"."""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

import pytest

from places import MODULES, TURNS, PeragoRun, Worker
from servers.machine import slowness

SHM = Path("/dev/shm")


def in_turn(*bodies: object) -> list[tuple[object, ...]]:
    """Each body with the places of its turn."""
    return [
        (place, *(body if isinstance(body, tuple) else (body,)))
        for number, body in enumerate(bodies)
        for place in TURNS[number % len(TURNS)]
    ]


@pytest.mark.parametrize(
    ("place", "body"),
    in_turn(
        "leave_a_file_open",
        "leave_a_file_open_elsewhere",
        "leave_a_database_open",
        "leave_a_database_in_a_cycle",
        "leave_a_shelf_open",
        "leave_what_writes_last",
        "leave_a_generator_suspended",
        "write_at_exit",
        "leave_a_thread",
        "leave_without_stdout",
        "use_pools",
        "fork_from_threads",
        "change_everything",
        "log_to_a_file",
        "use_git",
        "use_a_compiler",
        "use_locales",
        "use_time_zones",
        "look_up_users",
    ),
    indirect=["place"],
)
def test_a_body_does_twice_what_a_program_does(place, plain, body):
    expected = plain.run(f"plain_rows:{body}")
    assert expected.reason == ""
    for _ in range(2):
        assert place.run(f"plain_rows:{body}") == expected


@pytest.mark.parametrize(
    ("place", "first", "then"),
    in_turn(
        ("ignore_children", "run_what_fails"),
        ("limit_file_sizes", "write_a_file"),
        ("take_all_modes", "write_a_file"),
        ("set_an_alarm", "sleep_over_the_alarm"),
    ),
    indirect=["place"],
)
def test_what_a_body_does_to_its_process_is_gone_with_it(place, plain, first, then):
    for body in (first, then, first):
        assert place.run(f"plain_rows:{body}") == plain.run(f"plain_rows:{body}")


def test_no_mode_of_a_body_reaches_the_repository(place):
    assert place.run("plain_rows:take_all_modes").reason == ""
    heads = list((place.repository.path / "refs" / "heads").iterdir())
    assert heads
    assert all(head.stat().st_mode & 0o444 for head in heads)


@pytest.mark.skipif(not SHM.is_dir(), reason="only Linux shows shared memory as files")
def test_shared_memory_goes_with_its_body(place):
    name = f"perago-{uuid.uuid4().hex}"
    assert place.run("plain_rows:leave_shared_memory", name=name).reason == ""
    assert not (SHM / name).exists()


def test_a_failure_of_any_length_is_told_at_once(place):
    began = time.monotonic()
    reason = place.run("plain_rows:raise_much").reason
    assert reason.startswith("ValueError: xxx")
    assert len(reason) <= 500
    assert time.monotonic() - began < 2 * slowness()


def test_random_numbers_are_drawn_anew_by_each_body(place):
    assert len({place.run("plain_rows:draw").value for _ in range(3)}) == 3


def test_a_seed_of_the_module_holds_for_each_body(tmp_path, plain, body_start, monkeypatch):
    expected = plain.run("seeded_rows:draw_seeded")
    run = PeragoRun(new_directory(tmp_path / "run"), body_start)
    assert run.run("seeded_rows:draw_seeded") == expected
    monkeypatch.syspath_prepend(str(MODULES))
    with Worker(new_directory(tmp_path / "worker"), body_start, ["seeded_rows"]) as worker:
        assert [worker.run("seeded_rows:draw_seeded") for _ in range(2)] == [expected, expected]


def test_a_module_that_starts_a_thread_has_it_in_each_body(tmp_path, plain, body_start, monkeypatch):
    expected = plain.run("threaded_rows:ask_the_thread")
    assert expected.value == "answered"
    assert PeragoRun(new_directory(tmp_path / "run"), body_start).run("threaded_rows:ask_the_thread") == expected
    monkeypatch.syspath_prepend(str(MODULES))
    with Worker(new_directory(tmp_path / "worker"), body_start, ["threaded_rows"]) as worker:
        assert worker.run("threaded_rows:ask_the_thread") == expected
        free = worker.supervised.schedule("ask_the_thread_without_a_workspace")
        assert worker.supervised.completed(free)["value"] == "answered"


def new_directory(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("body", "words"), [("crash_at_the_end", "was killed by SIGSEGV"), ("exit_at_the_end", "exited with code 3")]
)
def test_an_end_that_is_not_clean_fails_the_attempt(place, body, words):
    reason = place.run(f"plain_rows:{body}").reason
    assert "the body returned, but then its process" in reason
    assert words in reason


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exit", "exited with code 3"),
        ("segfault", "SIGSEGV"),
        ("memory", "SIGKILL, perhaps because the machine ran"),
    ],
)
def test_the_death_of_a_body_is_told_at_once(tmp_path, body_start, monkeypatch, name, words):
    monkeypatch.syspath_prepend(str(MODULES))
    with Worker(tmp_path, body_start, ["plain_rows"]) as worker:
        worker.run("plain_rows:write_a_file")
        began = time.monotonic()
        assert words in worker.run("plain_rows:die", name=name).reason
        assert time.monotonic() - began < 2 * slowness()
        assert worker.run("plain_rows:write_a_file").reason == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows how a process was started")
def test_a_task_says_how_its_bodies_begin_and_the_setting_says_it_for_all_others(place):
    fresh = "perago.worker.body.fresh"
    assert place.run("plain_rows:begin_afresh").value == fresh
    assert (place.run("plain_rows:begin_as_set").value == fresh) == (place.body_start == "spawn")
