"""The Conductor server is fetched once, whoever asks first, and needs a Java that is new enough. Scripts stand in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.java import version_of

ROOT = Path(__file__).parents[2]
SOME_JAVA = """#!/bin/sh
echo 'openjdk version "{version}" 2026-01-20' >&2
"""
SOME_MAVEN = """#!/bin/sh
echo "$@" >> "$CALLS"
[ -e "$FAIL" ] && { echo "Could not find artifact" >&2; exit 1; }
sleep 0.3
directory="$REPOSITORY/org/conductoross/conductor-server/3.32.3"
mkdir -p "$directory"
echo jar > "$directory/conductor-server-3.32.3-boot.jar"
"""


def add_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def add_java(home, version):
    return add_program(home / "bin" / "java", SOME_JAVA.format(version=version))


@pytest.fixture
def machine(tmp_path):
    """Environment of a machine with Java 21, and a Maven that notes its calls; it fails while `fail` is there."""
    maven = add_program(tmp_path / "bin" / "mvn", SOME_MAVEN)
    add_java(tmp_path / "java-21", "21.0.5")
    return {
        **os.environ,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{maven.parent}:/usr/bin:/bin",
        "JAVA_HOME": str(tmp_path / "java-21"),
        "REPOSITORY": str(tmp_path / "home" / ".m2" / "repository"),
        "CALLS": str(tmp_path / "calls"),
        "FAIL": str(tmp_path / "fail"),
        "CI": "",
        "PERAGO_PROVE": "",
        "PERAGO_TEST_CONDUCTOR_URL": "",
    }


def start_fetch(machine):
    return subprocess.Popen(
        [sys.executable, "-m", "servers.conductor", "fetch"],
        cwd=ROOT,
        env=machine,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(fetch):
    output, errors = fetch.communicate(timeout=60)
    return fetch.returncode, output, errors


def test_of_fetches_at_once_one_fetches(machine, tmp_path):
    results = [finish(fetch) for fetch in [start_fetch(machine) for _ in range(3)]]
    jars = {Path(output.strip()) for _, output, _ in results}
    assert [code for code, _, _ in results] == [0, 0, 0]
    assert [jar.read_text() for jar in jars] == ["jar\n"]
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert "-Dartifact=org.conductoross:conductor-server:3.32.3:jar:boot" in call
    assert "http" not in call
    assert sum("Fetching Conductor 3.32.3" in errors for _, _, errors in results) == 1


def test_a_fetch_that_fails_says_why(machine, tmp_path):
    (tmp_path / "fail").touch()
    code, output, errors = finish(start_fetch(machine))
    assert (code, output) == (1, "")
    assert "Could not find artifact" in errors
    assert "Traceback" not in errors


def test_another_local_repository_is_taken_from_mavens_settings(machine, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    settings = tmp_path / "home" / ".m2" / "settings.xml"
    settings.parent.mkdir(parents=True)
    namespace = 'xmlns="http://maven.apache.org/SETTINGS/1.2.0"'
    settings.write_text(f"<settings {namespace}><localRepository>{elsewhere}</localRepository></settings>")
    code, output, _ = finish(start_fetch({**machine, "REPOSITORY": str(elsewhere)}))
    assert (code, Path(output.strip()).is_relative_to(elsewhere)) == (0, True)


UNPACKING_JAVA = """#!/bin/sh
echo 'openjdk version "21.0.5" 2026-01-20' >&2
[ "$1" = -version ] && exit
echo "$@" >> "$CALLS"
[ -e "$FAIL" ] && { echo "zip END header not found" >&2; exit 1; }
sleep 0.3
mkdir -p "$6"
echo small > "$6/conductor-server-3.32.3-boot.jar"
"""


@pytest.fixture
def machine_with_a_jar(machine, tmp_path):
    add_program(tmp_path / "java-21" / "bin" / "java", UNPACKING_JAVA)
    jar = tmp_path / "home" / ".m2/repository/org/conductoross/conductor-server/3.32.3/conductor-server-3.32.3-boot.jar"
    jar.parent.mkdir(parents=True)
    jar.write_text("large")
    return {**machine, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def start_unpacking(machine):
    command = [sys.executable, "-c", "from servers import conductor_jar; print(conductor_jar.program())"]
    return subprocess.Popen(command, cwd=ROOT, env=machine, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_of_starts_at_once_one_unpacks(machine_with_a_jar, tmp_path):
    killed = tmp_path / "cache" / "perago" / "servers" / ".conductor-3.32.3-killed"
    killed.mkdir(parents=True)
    results = [finish(one) for one in [start_unpacking(machine_with_a_jar) for _ in range(3)]]
    assert {Path(output.strip()).read_text() for _, output, _ in results} == {"small\n"}
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert not killed.exists()


def test_what_cannot_be_unpacked_leaves_nothing_and_says_why(machine_with_a_jar, tmp_path):
    (tmp_path / "fail").touch()
    code, _, errors = finish(start_unpacking(machine_with_a_jar))
    assert code == 1
    assert "zip END header not found" in errors
    assert "remove it if it is damaged" in errors
    (tmp_path / "fail").unlink()
    _, output, _ = finish(start_unpacking(machine_with_a_jar))
    assert Path(output.strip()).read_text() == "small\n"


@pytest.mark.parametrize(("said", "version"), [("25.0.1", 25), ("21", 21), ("17.0.15", 17), ("1.8.0_402", 1)])
def test_the_version_of_a_java_is_what_it_says(tmp_path, said, version):
    assert version_of(add_java(tmp_path, said)) == version


def test_what_is_no_java_has_no_version(tmp_path):
    assert version_of(tmp_path / "missing") is None
    assert version_of(add_program(tmp_path / "java", "#!/bin/sh\nexit 3\n")) is None


A_TEST = """
def test_it(conductor):
    pass
"""
NO_JAVA = "needs Java 21 or newer"
HIDDEN = """
import pathlib, servers.java
servers.java._JVM_DIRECTORIES = (pathlib.Path("none"),)
servers.java._MACOS_FINDER = pathlib.Path("none")
"""


def run_a_test(machine, tmp_path, test=A_TEST, **environment):
    """What pytest says of a test that uses Conductor, on that machine, whose /usr/lib/jvm is empty."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "conftest.py").write_text(
        HIDDEN + (ROOT / "tests" / "conftest.py").read_text().replace("from __future__ import annotations\n", "")
    )
    (tests / "figures.py").write_text((ROOT / "tests" / "figures.py").read_text())
    (tests / "test_it.py").write_text(test)
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, tests]
    environment = {**machine, **environment}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def machine_with_old_java(machine, tmp_path):
    java = add_java(tmp_path / "java-17", "17.0.15")
    return {**machine, "JAVA_HOME": str(tmp_path / "java-17"), "PATH": f"{java.parent}:{machine['PATH']}"}


def test_without_java_tests_are_skipped_and_that_is_said_plainly(machine_with_old_java, tmp_path):
    said = run_a_test(machine_with_old_java, tmp_path)
    assert "1 skipped" in said
    assert f"NOT TESTED HERE (1): {NO_JAVA}" in said


def test_without_java_ci_fails(machine_with_old_java, tmp_path):
    said = run_a_test(machine_with_old_java, tmp_path, CI="true")
    assert "1 error" in said
    assert f"CI=true, and this test {NO_JAVA}" in said


def test_a_server_that_is_named_is_used_and_nothing_is_fetched(machine_with_old_java, tmp_path):
    url = "http://conductor.example:8080/api"
    test = f"def test_it(conductor_server):\n    assert conductor_server.api_url == {url!r}\n"
    said = run_a_test(machine_with_old_java, tmp_path, test, CI="true", PERAGO_TEST_CONDUCTOR_URL=f"{url}/")
    assert "1 passed" in said
    assert not (tmp_path / "calls").exists()


def test_without_maven_tests_are_skipped(machine, tmp_path):
    (tmp_path / "bin" / "mvn").unlink()
    path = tmp_path / "bin"
    (path / "python").symlink_to(sys.executable)
    said = run_a_test({**machine, "PATH": str(path)}, tmp_path)
    assert "NOT TESTED HERE (1): needs Maven on the PATH" in said


def test_where_it_cannot_be_fetched_the_reason_is_said(machine, tmp_path):
    (tmp_path / "fail").touch()
    said = run_a_test(machine, tmp_path)
    assert "NOT TESTED HERE (1): needs the Conductor server, which could not be fetched" in said
    assert "Could not find artifact" in said
