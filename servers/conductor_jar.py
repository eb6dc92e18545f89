"""The Conductor server's jar: fetched once by Maven into its own local repository, and unpacked once for starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

from servers.java import MISSING as NO_JAVA
from servers.java import find_java
from servers.once import cache_directory, one_at_a_time

VERSION = "3.32.3"
GROUP, ARTIFACT, CLASSIFIER = "org.conductoross", "conductor-server", "boot"
FETCH_SECONDS = 1_800.0
"""447 MB through whatever mirror Maven is set up with."""
UNPACK_SECONDS = 300.0
"""For writing 438 MB; 5 s on a quiet machine."""
_GIVEN = "PERAGO_TEST_CONDUCTOR_URL"
NO_MAVEN = f"needs Maven on the PATH (it fetches the Conductor server), or a Conductor named by {_GIVEN}"


class FetchError(RuntimeError):
    """The jar could not be fetched or unpacked; the message has the end of what was said."""


def what_is_missing() -> str:
    """What the server needs and the machine lacks, beginning with "needs"; "" where nothing is. Fetches nothing."""
    if find_java() is None:
        return NO_JAVA + _GIVEN
    if not jar_path().is_file() and shutil.which("mvn") is None:
        return NO_MAVEN
    return ""


def jar() -> Path:
    """The jar; fetched if need be, which is said on standard error.

    Raises:
        FetchError: it could not be fetched.
    """
    path = jar_path()
    if path.is_file():
        return path
    if shutil.which("mvn") is None:
        raise FetchError(f"Conductor {VERSION} {NO_MAVEN}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path.parent / ".perago.lock"):
        if not path.is_file():
            _fetch(path)
    return path


def program() -> Path:
    """What `java -jar` starts: a small jar beside those that it needs; they are made if need be.

    A JVM that reads them from within the large jar starts with twice the CPU (55 s instead of 24 on two cores, which is
    most of what the server uses in a test).

    Raises:
        FetchError: the jar could not be fetched or unpacked.
    """
    packed = jar()
    directory = cache_directory() / f"conductor-{VERSION}"
    directory.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(directory.parent / f"{directory.name}.lock"):
        if not directory.is_dir():
            _unpack(packed, directory)
    return directory / packed.name


def jar_path() -> Path:
    """Where Maven keeps the jar, whether it is there or not."""
    name = f"{ARTIFACT}-{VERSION}-{CLASSIFIER}.jar"
    return local_repository() / GROUP.replace(".", "/") / ARTIFACT / VERSION / name


def local_repository() -> Path:
    """Maven's: what its user settings name, or its default."""
    maven = Path.home() / ".m2"
    try:
        settings = ET.parse(maven / "settings.xml").getroot()  # the user's own file
    except (OSError, ET.ParseError):
        return maven / "repository"
    for element in settings:
        if element.tag.rpartition("}")[2] == "localRepository" and element.text and element.text.strip():
            return Path(os.path.expandvars(element.text.strip().replace("${user.home}", str(Path.home()))))
    return maven / "repository"


def _fetch(path: Path) -> None:
    print(f"Fetching Conductor {VERSION} with Maven: 447 MB, once", file=sys.stderr, flush=True)
    coordinates = f"{GROUP}:{ARTIFACT}:{VERSION}:jar:{CLASSIFIER}"
    command = ["mvn", "-B", "-q", "dependency:get", f"-Dartifact={coordinates}", "-Dtransitive=false"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as exc:
        raise FetchError(f"mvn dependency:get did not end within {FETCH_SECONDS:.0f} s") from exc
    if done.returncode or not path.is_file():
        said = (done.stdout + done.stderr)[-4_000:]
        raise FetchError(f"mvn dependency:get {coordinates} left no {path}:\n{said}")


def _unpack(packed: Path, directory: Path) -> None:
    """Spring Boot's own way; the directory is there whole or not at all."""
    java = find_java()
    if java is None:
        raise FetchError(f"Conductor {VERSION} {NO_JAVA}{_GIVEN}")
    prefix = f".{directory.name}-"
    for left_by_the_killed in directory.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_by_the_killed)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=directory.parent) as temporary:
        made = Path(temporary) / "made"
        command: list[str | Path] = [java, "-Djarmode=tools", "-jar", packed, "extract", "--destination", made]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=UNPACK_SECONDS, check=False)
        except subprocess.TimeoutExpired as exc:
            raise FetchError(f"{packed} was not unpacked within {UNPACK_SECONDS:.0f} s") from exc
        if done.returncode or not (made / packed.name).is_file():
            said = (done.stdout + done.stderr)[-4_000:]
            raise FetchError(f"unpacking {packed} left no {packed.name}; remove it if it is damaged:\n{said}")
        made.rename(directory)
