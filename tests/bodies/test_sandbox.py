"""A confined body reaches what was laid out for it, and nothing else: each row of docs/sandbox.md."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perago.worker.body.confinement import handed_over, nvidia_devices, take_over
from perago.worker.body.reach import MAX_NOTES_BYTES, noted_late
from perago.worker.body.sandbox import lacks_for
from perago.worker.process import landlock
from perago.worker.process.capabilities import Capability
from perago.worker.process.landlock import ALL, READ
from planted import SECRET, expect_all_refused, neighbours


@pytest.fixture(scope="module")
def planted(confined, tmp_path_factory) -> Iterator[dict[str, Any]]:
    with neighbours(tmp_path_factory.mktemp("outside"), confined.root) as planted:
        planted["others"]["the repository"] = str(confined.repository.path / "HEAD")
        yield planted


def test_whatever_a_body_reaches_for_is_refused(confined, planted):
    seen = confined.run("confined_rows:reach_for_everything", **planted)
    assert seen.reason == ""
    expect_all_refused(seen.value, planted)


def test_without_a_sandbox_the_same_ways_lead_there(plain, planted):
    """So that a refusal is the sandbox's."""
    seen = plain.run("confined_rows:reach_for_everything", **planted)
    open_to_all = {name for name, found in seen.value.items() if found.startswith("found")}
    names = {"open", "a program", "openat2", "a symbolic link", "another's environment", "TCP", "a signal"}
    names |= {"an orphan", "a swapped directory"}
    assert names | {"an abstract socket", "the sibling attempt", "the repository"} <= open_to_all
    if _may_do_everything():
        assert {"process_vm_readv", "ptrace", "pidfd_getfd", "a file handle", "another's mappings"} <= open_to_all
        assert {"a device of its own", "the network's packets", "a mount"} <= open_to_all
    Path(planted["file"]).write_text(SECRET)
    Path(planted["directory"], "made").unlink(missing_ok=True)
    Path("/tmp/perago-made").unlink(missing_ok=True)


def _may_do_everything() -> bool:
    """Whether this is root, and of the machine: not of a container that withholds something."""
    held = re.search(r"^CapEff:\t([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    wanted = sum(1 << capability for capability in Capability)
    return (
        held is not None
        and int(held[1], 16) & wanted == wanted
        and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
        and re.search(r"^Seccomp:\t0$", Path("/proc/self/status").read_text(), re.MULTILINE) is not None
    )


def test_a_body_has_a_home_and_temporary_files_of_its_own(confined):
    seen = confined.run("confined_rows:have_an_own_place")
    assert (seen.reason, seen.value, seen.files) == ("", [], {"own.txt": "x"})


def test_modules_beside_its_own_are_imported_late(confined):
    assert confined.run("confined_rows:import_late").value == "late"


def test_a_body_has_no_descriptor_by_mistake(confined):
    assert confined.run("confined_rows:have_no_stray_descriptor").value == "[]"


@pytest.mark.parametrize(
    ("abi", "network", "lacks"),
    [
        (0, False, "this kernel offers no Landlock"),
        (2, True, "version 2, and 3 is needed (Linux 6.2)"),
        (3, True, None),
        (3, False, "version 3, and 4 is needed (Linux 6.7)"),
        (4, False, None),
    ],
)
def test_what_a_kernel_lacks_is_told(monkeypatch, abi, network, lacks):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(landlock, "landlock_abi", lambda: abi)
    said = lacks_for(network=network)
    assert said is None if lacks is None else said is not None and lacks in said


def test_a_system_without_landlock_is_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert lacks_for(network=True) == "it needs Landlock, which only Linux has"


def test_all_graphics_cards_of_nvidia_are_allowed(tmp_path):
    names = {"nvidia0", "nvidia11", "nvidiactl", "nvidia-uvm", "nvidia-caps"}
    for name in (*names, "sda"):
        (tmp_path / name).touch()
    assert set(nvidia_devices(str(tmp_path))) == {str(tmp_path / name) for name in names}


def test_each_process_takes_over_all_that_was_handed_over():
    allowed = (("/etc/hosts", READ), ("/dev/shm", ALL), (os.fsdecode(b"/etc/n\xf6"), READ))
    with handed_over(allowed) as handle:
        assert [take_over(os.dup(handle)) for _ in range(2)] == [allowed, allowed]


def test_notes_of_forks_are_bounded_and_what_is_no_note_proves_nothing(tmp_path):
    assert noted_late(str(tmp_path)) == ([], [])
    notes = [{"opened": "/a.py"}, {"reached": "read /b"}, {"opened": "/a.py"}]
    text = "".join(json.dumps(note) + "\n" for note in notes)
    (tmp_path / "reached").write_text(text)
    assert noted_late(str(tmp_path)) == (["read /b"], ["/a.py"])
    for more in ("no note\n", "[]\n", text * (MAX_NOTES_BYTES // len(text) + 1)):
        (tmp_path / "reached").write_text(text + more)
        assert noted_late(str(tmp_path)) == (["read /b"], ["/a.py", "more than 1,000 files"])


def test_what_the_host_has_is_looked_for_once_for_all_bodies(confined):
    """A spawned one looks for its modules itself, which may have changed."""
    looks = confined.run("confined_rows:count_looks_at_the_host").value
    assert looks == ([0, 1] if confined.body_start == "spawn" else [1, 1])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("read_a_file", 'declare @task(..., reads=["{file}"])'),
        (
            "read_a_file_by_a_program",
            'refused an earlier access. If the task needs it, declare @task(..., reads=["{file}"])',
        ),
        ("connect", "declare @task(..., network=True)"),
        ("look_up_a_variable", 'declare @task(..., environment=["AWS_PLANTED"])'),
        ("write_what_may_only_be_read", "made"),
    ],
)
def test_a_refusal_says_what_to_declare(confined, planted, body, told):
    reason = confined.run(f"confined_rows:{body}", **planted).reason
    assert told.format(**planted) in reason
    assert SECRET not in reason


def test_a_task_that_declares_no_sandbox_reads_as_its_user_does(confined, planted):
    assert confined.run("confined_rows:be_free", **planted).value == SECRET
    assert confined.run("confined_rows:read_and_be_noted", **planted).value == SECRET
    assert confined.run("confined_rows:connect_as_declared", **planted).value == SECRET
    assert confined.run("confined_rows:look_up_a_variable_as_declared", **planted).value == SECRET
