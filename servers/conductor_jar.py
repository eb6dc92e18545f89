"""The Conductor server's jar, fetched once by Maven into its own local repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from servers.java import MISSING as NO_JAVA
from servers.java import find_java
from servers.once import one_at_a_time

VERSION = "3.32.3"
GROUP, ARTIFACT, CLASSIFIER = "org.conductoross", "conductor-server", "boot"
FETCH_SECONDS = 1_800.0
"""447 MB through whatever mirror Maven is set up with."""
_GIVEN = "PERAGO_TEST_CONDUCTOR_URL"
NO_MAVEN = f"needs Maven on the PATH (it fetches the Conductor server), or a Conductor named by {_GIVEN}"


class FetchError(RuntimeError):
    """The jar could not be fetched; the message has the end of what Maven said."""


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
