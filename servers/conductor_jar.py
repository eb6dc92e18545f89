"""The Conductor server's jar: fetched once by Maven into its local repository, and unpacked once for fast starts."""

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
"""Time limit for 447 MB from Maven's configured mirror."""
UNPACK_SECONDS = 300.0
"""Time limit for writing 438 MB; 5 s on a quiet machine."""
_GIVEN = "PERAGO_TEST_CONDUCTOR_URL"
NO_MAVEN = f"needs Maven on the PATH (it fetches the Conductor server), or a Conductor named by {_GIVEN}"


class FetchError(RuntimeError):
    """The jar could not be fetched or unpacked. The message has the end of the output."""


def what_is_missing() -> str:
    """What the machine lacks for the server, beginning with "needs"; "" if nothing. Fetches nothing."""
    if find_java() is None:
        return NO_JAVA + _GIVEN
    if not jar_path().is_file() and shutil.which("mvn") is None:
        return NO_MAVEN
    return ""


def jar() -> Path:
    """The path of the jar, which is fetched if needed, with a note on stderr.

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
    """The path of the jar for `java -jar`, a small one beside those that it needs. They are unpacked if needed.

    A JVM that reads them from the large jar needs twice the CPU for its start (55 s instead of 24 on two cores, most of
    the server's CPU in a test).

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
    """The path of the jar in Maven's repository. It need not exist."""
    name = f"{ARTIFACT}-{VERSION}-{CLASSIFIER}.jar"
    return local_repository() / GROUP.replace(".", "/") / ARTIFACT / VERSION / name


def local_repository() -> Path:
    """Maven's local repository, by its user settings or the default."""
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
    """Unpack with Spring Boot's own tool, atomically."""
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
