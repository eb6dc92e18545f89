"""The image of deploy/Dockerfile, and processes that run in it as in a container.

buildah builds it, on a base that debootstrap makes under the name that the Dockerfile takes: the official base is not
fetched. Base, wheels and layers are kept in ~/.cache/perago/image.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from servers.once import cache_directory, one_at_a_time
from start_support import StartedWorker

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "deploy" / "Dockerfile"
REQUIREMENTS = [PROJECT / "requirements" / name for name in ("run.txt", "image.txt")]
KEPT = cache_directory().with_name("image")
MOUNTS = "/run/perago-image"
"""What buildah knows of its mounts, which end with the machine."""
STEP_SECONDS = 600.0
NAMESPACES = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
NAME, STAGE = "perago-worker", "build"

IN_NAMESPACES = """
set -eu
root=$1 user=$2 directory=$3 mounts=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
echo "$mounts" | while read -r source target mode; do
  mount --bind -o "$mode" "$source" "$root$target"
done
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
  --inh-caps=-all --bounding-set=-all --no-new-privs -- env --chdir="$directory" "$@"
"""
"""Does what a container engine does with `read_only`, `cap_drop: [ALL]`, `no-new-privileges` and the host's network."""


def what_is_missing() -> str:
    """What the machine lacks, beginning with "needs"; "" if nothing."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap", "unshare"))):
        return "needs root, buildah, debootstrap, and unshare of util-linux"
    if subprocess.run([*NAMESPACES, "mount", "-t", "proc", "proc", "/proc"], capture_output=True).returncode:
        return "needs root, with the right to mount in namespaces"
    return "" if _mirror() else "needs a mirror of Debian among the sources of apt"


class WorkerImage:
    """The image, mounted.

    Attributes:
        root: its file system.
        config: its user, environment, entry point and working directory, by OCI's names.
    """

    def __init__(self, root: str, config: Mapping[str, object]) -> None:
        self.root, self.config = root, config

    def command(self, *arguments: str, mounts: Mapping[Path, str]) -> list[str]:
        """A command that runs its entry point as process 1 of new namespaces, on a read-only file system."""
        lines = "\n".join(f"{source} {target}" for source, target in mounts.items())
        config = self.config
        inside = [self.root, config["User"], config["WorkingDir"], lines, *config["Entrypoint"], *arguments]
        return [*NAMESPACES, "sh", "-c", IN_NAMESPACES, "sh", *inside]

    def environment(self, **variables: str) -> dict[str, str]:
        """All variables of a process in it."""
        return {**dict(pair.split("=", 1) for pair in self.config["Env"]), **variables}


class ContainedWorker(StartedWorker):
    """`perago start` in the image. Its volumes are directories of the test's."""

    def __init__(self, image: WorkerImage, directory: Path, url: str, modules: Path, arguments: list[str], **variables):
        super().__init__(directory, url, arguments)
        self._image, self._directory = image, directory
        state, cache = (directory / name for name in ("state", "cache"))
        for volume in (state, cache):
            volume.mkdir()
            user, group = map(int, image.config["User"].split(":"))
            os.chown(volume, user, group)
        self.root, self.logs = state / "workspaces", state / "logs"
        self._mounts = {modules: "/app ro", state: "/var/lib/perago rw", cache: "/var/cache/perago rw"}
        self._command = image.command("start", *arguments, mounts=self._mounts)
        self._environment = image.environment(CONDUCTOR_SERVER_URL=url, **variables)

    def perago(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command in a container of its own, with the same volumes."""
        command = self._image.command(*arguments, mounts=self._mounts)
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=STEP_SECONDS)


@contextmanager
def worker_image() -> Iterator[WorkerImage]:
    """Build the image if it has changed, and mount it. One at a time on a machine."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(KEPT / "lock"):
        _buildah("rm", "--all")  # of a test that was killed
        text = DOCKERFILE.read_text()
        version = re.search(r"^ARG PYTHON=(.+)$", text, re.MULTILINE)[1]
        base = re.search(r"^FROM (\S+) AS", text, re.MULTILINE)[1].replace("${PYTHON}", version)
        if not _id(f"docker.io/library/{base}"):
            _make_base(f"docker.io/library/{base}", suite=base.rpartition("-")[2])
        wheels = _wheels(version)
        _build(f"{NAME}-{STAGE}", wheels, "--target", STAGE)  # keeps the layers of this stage
        _build(NAME, wheels)
        config = json.loads(_buildah("inspect", "--type", "image", NAME))["OCIv1"]["config"]
        container = _buildah("from", "--pull-never", NAME)
        try:
            yield WorkerImage(_buildah("mount", container), config)
        finally:
            _buildah("rm", container)


def _buildah(*arguments: str | Path) -> str:
    return _run("buildah", "--root", KEPT / "storage", "--runroot", MOUNTS, *arguments)


def _id(image: str) -> str:
    return _buildah("images", "--quiet", "--filter", f"reference={image}")


def _build(image: str, wheels: Path, *options: str) -> None:
    """Build, with the packages of a directory in the place of an index's; remove what this replaces."""
    before = _id(image)
    settings = wheels / "pip.conf"
    volumes = ("--volume", f"{wheels}:/mnt:ro", "--volume", f"{settings}:/etc/pip.conf:ro")
    where = ("--isolation", "chroot", "--pull-never", "--layers", "--file", DOCKERFILE)
    _buildah("build", *where, *volumes, *options, "--tag", image, PROJECT)
    if before and before != _id(image):
        _buildah("rmi", before)


def _make_base(image: str, suite: str) -> None:
    """What the official base has that the Dockerfile uses: Debian, and `python` with the module venv."""
    with tempfile.TemporaryDirectory(dir=KEPT) as temporary:
        root = Path(temporary) / "root"
        packages = "--include=python3,python3-venv"
        _run("debootstrap", "--variant=minbase", packages, suite, root, _mirror())
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        container = _buildah("from", "scratch")
        _buildah("add", container, root, "/")
        _buildah("commit", "--rm", container, image)


def _mirror() -> str:
    """The first mirror of Debian that apt of this machine uses; "" if there is none."""
    wanted = ("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages")
    if shutil.which("apt-get") is None:
        return ""
    found = (line.split(" ", 1) for line in _run(*wanted).splitlines())
    return next((uri for label, uri in found if label == "Debian"), "")


def _wheels(python: str) -> Path:
    """What the image installs, fetched by this environment's pip as it is configured here, and a pip.conf for it."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in REQUIREMENTS)).hexdigest()[:16]
    directory = KEPT / "wheels" / digest
    if not directory.is_dir():
        shutil.rmtree(directory.parent, ignore_errors=True)  # of other requirements
        making = directory.with_suffix(".making")
        making.mkdir(parents=True)
        options = ["--require-hashes", "--only-binary", ":all:", "--python-version", python, "--dest", making]
        for requirements in REQUIREMENTS:
            _run(sys.executable, "-m", "pip", "--quiet", "download", *options, "--requirement", requirements)
        (making / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /mnt\n")
        making.rename(directory)
    return directory


def _run(*command: str | Path) -> str:
    """Its output. A failure shows the end of everything it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=STEP_SECONDS)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{(done.stdout + done.stderr)[-4_000:]}"
    return done.stdout.strip()
