"""What `.ci/test` excuses, what it names, and what it never lets pass; and what `.ci/run` says at its end.

And which Pythons the unit tests run on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CI = HERE.parent / ".ci"

MAKEFILE = """
test test-long:
\t.venv/bin/pytest -q {options} tests
units libraries environments check docs manifests package:
\t@echo {name} done
"""
ONCE = """
    marker = pathlib.Path({marker!r})
    is_first = not marker.exists()
    marker.write_text("")
    assert not is_first, "the first time"
"""
HEAD = "import pathlib, pytest\nfrom hypothesis import given, settings, strategies as st\n\n"


@pytest.fixture
def project(tmp_path):
    """A project with our scripts and conftest, whose tests a test writes."""
    shutil.copytree(CI, tmp_path / ".ci")
    for script in ("install-packages", "find-python"):
        (tmp_path / ".ci" / script).write_text("#!/bin/sh\necho python3\n")
    (tmp_path / ".ci" / "pythons").write_text("#!/bin/sh\n")  # there is no other
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    (tmp_path / "tests" / "support").mkdir(parents=True)
    for ours in ("conftest.py", "support/figures.py"):
        shutil.copy(HERE / ours, tmp_path / "tests" / ours)
    shutil.copy(HERE.parent / "pyproject.toml", tmp_path)

    def write(code: str, options: str = "") -> Path:
        (tmp_path / "Makefile").write_text(MAKEFILE.format(options=options, name="$@"))
        (tmp_path / "tests" / "test_it.py").write_text(HEAD + code)
        return tmp_path

    return write


def run(script: str, directory: Path, share: str = "1/1") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "CI": "",
        "JOBS": "0",
        "PERAGO_TEST_SHARE": share,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path]),
    }
    command = [directory / ".ci" / script, *{"test": ["test"], "units": [directory / "again"]}.get(script, [])]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=280)


def once(tmp_path: Path, name: str = "marker") -> str:
    return ONCE.format(marker=str(tmp_path / name))


def test_a_test_that_passes_only_when_run_again_is_named_at_the_very_end(project, tmp_path):
    directory = project(f"def test_slow():{once(tmp_path)}\n\ndef test_fine():\n    pass\n", "-n 1")
    done = run("run", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-2:] == [
        "All passed, but these only in a second run, alone. Fix them first:",
        "tests/test_it.py::test_slow",
    ]


def test_where_all_pass_at_once_that_is_all_it_says(project):
    done = run("run", project("def test_fine():\n    pass\n"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().splitlines()[-1] == "All passed."


def test_the_shares_of_the_long_tests_are_all_of_them_once(project):
    directory = project("@pytest.mark.parametrize('number', range(60))\ndef test_it(number):\n    pass\n")
    shares = []
    for share in ("1/3", "2/3", "3/3"):
        done = run("test", directory, share)
        assert done.returncode == 0, done.stdout + done.stderr
        [passed] = re.findall(r"^(\d+) passed, (\d+) deselected", done.stdout, re.MULTILINE)
        shares.append(int(passed[0]))
        assert sum(map(int, passed)) == 60
    assert sum(shares) == 60
    assert min(shares) > 10


def test_units_run_on_all_pythons_at_once_and_failed_ones_again_when_all_have_ended(project, tmp_path):
    directory = project("")
    (directory / ".ci" / "pythons").write_text("#!/bin/sh\necho 3.88 one; echo 3.99 two env INSIDE=yes\n")
    (directory / "requirements").mkdir()
    for older in (directory / "requirements" / "units.txt", directory / "pyproject.toml"):
        older.touch()
        os.utime(older, (0, 0))
    for version in ("3.88", "3.99"):
        environment = directory / "build" / f"units-{version}"
        environment.mkdir(parents=True)
        (environment / "bin").symlink_to(Path(sys.executable).parent)
        (environment / ".installed").touch()
    (directory / "tests" / "unit").mkdir()
    slow = f"def test_slow():{once(tmp_path)}\n"
    inside = f"    pathlib.Path({str(tmp_path / 'inside')!r}, os.environ.get('INSIDE', 'no')).touch()\n"
    (tmp_path / "inside").mkdir()
    (directory / "tests" / "unit" / "test_it.py").write_text(
        "import os\n" + HEAD + "def test_inside():\n" + inside + slow
    )
    done = run("units", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("==> ") or " in a second" in line] == [
        "==> Units on Python 3.88, one",
        "==> Units on Python 3.99, env INSIDE=yes",
        "==> Once more, alone:",
    ]
    assert sorted(path.name for path in (tmp_path / "inside").iterdir()) == ["no", "yes"]
    assert (directory / "again").read_text() == "tests/unit/test_it.py::test_slow\n"


def test_what_fails_again_fails(project):
    done = run("test", project("def test_bad():\n    assert 0\n"))
    assert done.returncode == 1
    assert done.stdout.count("1 failed") == 2


AT_RANDOM = """
from hypothesis.stateful import RuleBasedStateMachine, rule

@settings(database=None)
@given(st.integers())
def test_property(number):{property}

class Machine(RuleBasedStateMachine):
    @rule()
    def step(self):{machine}

TestMachine = Machine.TestCase

@pytest.mark.property
def test_kills_at_random():{marked}
"""


def test_what_was_drawn_at_random_is_excused_by_no_second_run(project, tmp_path):
    bodies = {name: once(tmp_path, name) for name in ("property", "machine", "marked")}
    bodies["machine"] = bodies["machine"].replace("\n    ", "\n        ")
    done = run("test", project(AT_RANDOM.format(**bodies), "-n 1"))
    assert done.returncode == 1, done.stdout
    assert "Once more, alone" not in done.stdout
    assert done.stdout.endswith(
        "Failures of tests with random cases are not excused by a second run:\ntests/test_it.py::TestMachine::runTest\n"
        "tests/test_it.py::test_kills_at_random\ntests/test_it.py::test_property\n"
    )


def test_a_property_test_that_ran_out_of_time_has_falsified_nothing(project, tmp_path):
    """The machine stalled: hypothesis's own complaints of slowness, and the timeout of a test."""
    code = """
import time

@pytest.mark.timeout(2)
@settings(database=None, deadline=None)
@given(st.integers())
def test_property(number):
    marker = pathlib.Path({marker!r})
    if not marker.exists():
        marker.write_text("")
        time.sleep(30)
"""
    done = run("test", project(code.replace("{marker!r}", repr(str(tmp_path / "slow")))))
    assert done.returncode == 0, done.stdout
    assert "Passed only in the second run" in done.stdout


NEWEST = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (HERE.parent / "pyproject.toml").read_text())[-1]
DEBOOTSTRAP = """#!/bin/sh
for root; do case $root in */making/root) break; esac; done
echo "made $1" >>"$MADE"
mkdir -p "$root/usr/bin" "$root/etc"
echo "no such mirror"
exit ${FAILS:-0}
"""


@pytest.fixture
def machine(tmp_path):
    """Calls a script on a machine with an old Python, root's rights, and a debootstrap that fetches nothing."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("needs root, with the right to mount in namespaces")
    (tmp_path / "bin").mkdir()

    def call(script, *arguments, debootstrap=True, **variables):
        fake = tmp_path / "bin" / "debootstrap"
        fake.write_text(DEBOOTSTRAP)
        fake.chmod(0o755)
        if not debootstrap:
            fake.unlink()
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"  # not /usr/sbin, where the real one is
        environment = {"PATH": path, "HOME": str(tmp_path), "MADE": str(tmp_path / "made"), **variables}
        command = [CI / script, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)

    return call


def test_the_newest_python_is_made_once_and_run_by_a_command(machine, tmp_path):
    for _ in range(2):
        assert machine("pythons").stdout.splitlines()[-1] == f"{NEWEST} python{NEWEST} .ci/debian-python {NEWEST}"
    assert (tmp_path / "made").read_text().count("made") == 1
    assert sorted(path.name for path in (tmp_path / ".cache/perago/pythons").iterdir()) == [NEWEST, "lock", "log"]
    assert list((tmp_path / ".cache/perago/pythons" / NEWEST).iterdir()) == [
        tmp_path / ".cache/perago/pythons" / NEWEST / "usr"
    ]


@pytest.mark.parametrize(
    "variables", [{"EXCEPT": f"3.11 {NEWEST}"}, {"PYTHONS": sys.executable}], ids=["except", "pythons"]
)
def test_where_nobody_asks_for_the_newest_it_is_not_made(machine, tmp_path, variables):
    done = machine("pythons", **variables)
    assert (done.returncode, ".ci/debian-python" in done.stdout) == (0, False)
    assert not (tmp_path / "made").exists()


def test_a_newest_python_that_cannot_be_had_is_told_and_fails_in_ci_only(machine, tmp_path):
    for how, why in (
        ({"debootstrap": False}, "needs debootstrap, and unshare of util-linux"),
        ({"FAILS": "1"}, "debootstrap failed: no such mirror"),
    ):
        told = f"Python 3.99 cannot be had from Debian's unstable: {why}\n"
        by_hand, in_ci = machine("debian-python", "3.99", **how), machine("debian-python", "3.99", CI="true", **how)
        assert (by_hand.returncode, by_hand.stdout, by_hand.stderr) == (0, "", told)
        assert (in_ci.returncode, in_ci.stdout, in_ci.stderr) == (1, "", told)
        assert machine("pythons", CI="true", **how).returncode == 1
    done = machine("debian-python", "3.99")  # what a failure has left is in nobody's way
    assert (done.returncode, done.stdout) == (0, "3.99\n")


def test_a_command_sees_usr_of_the_other_system_and_all_else_of_the_machine(machine, tmp_path):
    usr = tmp_path / ".cache/perago/pythons/3.99/usr"
    needed = re.findall(r"/\S+", subprocess.run(["ldd", "/usr/bin/cat"], capture_output=True, text=True).stdout)
    for file in ("/usr/bin/cat", *needed):
        target = usr / file.removeprefix("/usr").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (usr / "here").write_text("of the other, ")
    (tmp_path / "there").write_text("of the machine")
    done = machine("debian-python", "3.99", "cat", "/usr/here", str(tmp_path / "there"))
    assert done.stdout == "of the other, of the machine", done.stderr
    assert not Path("/usr/here").exists()
