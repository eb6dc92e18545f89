"""Two users of one host, of whom one means harm: real ones, each with a process and a home directory of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ALICE, CAROL, MALLORY = 20001, 20003, 20002

BODY = """
import time
from pathlib import Path
from pydantic import BaseModel
from perago import WorkspaceSpec, task

class Nothing(BaseModel):
    pass

@task(name="t", owner_email="alice@example.org", workspace=WorkspaceSpec())
def t(workspace: Path, params: Nothing) -> Nothing:
    (workspace / "mine.txt").write_text("mine")
    Path("body.runs").touch()
    while Path("body.waits").exists():
        time.sleep(0.01)
    return Nothing()
"""


def as_user(uid: int, *command: str) -> list[str]:
    """A command as another user, who may read everything: the checkout of the tests may be closed to others."""
    return [
        "setpriv",
        *(f"--reuid={uid}", f"--regid={uid}", "--clear-groups"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        *command,
    ]


class Host:
    """A directory for temporary files that all share, and users with homes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)

    def home(self, name: str, uid: int) -> Path:
        home = self.path / name
        (home / "src").mkdir(parents=True)
        (home / "src/a.txt").write_text("a")
        (home / "module.py").write_text(BODY)
        for path in (home, *home.rglob("*")):
            os.chown(path, uid, uid)
        return home

    def start(self, uid: int, home: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "TMPDIR": str(self.temporary),
            **settings,
        }
        return subprocess.Popen(
            as_user(uid, sys.executable, "-m", "perago", *arguments),
            cwd=home,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def perago(self, uid: int, home: Path, *arguments: str, **settings: str) -> tuple[int, str]:
        with self.start(uid, home, *arguments, **settings) as process:
            said, _ = process.communicate(timeout=120)
        return process.returncode, said

    def shell(self, uid: int, script: str) -> None:
        subprocess.run(as_user(uid, "sh", "-c", f"umask 0; {script}"), check=True, timeout=60)


ON_MAIN = ("--repo", "data.git", "--branch", "main")


@pytest.fixture
def host() -> Iterator[Host]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, for processes of two users")
    path = Path(tempfile.mkdtemp(prefix="perago-host-"))
    path.chmod(0o755)
    if subprocess.run(as_user(ALICE, sys.executable, "-c", "import perago"), check=False, cwd="/").returncode:
        pytest.skip("needs the right to let other users read the checkout")
    yield Host(path)
    shutil.rmtree(path)


@pytest.fixture
def alice(host: Host) -> Path:
    home = host.home("alice", ALICE)
    assert host.perago(ALICE, home, "import", "src", *ON_MAIN)[0] == 0
    return home


def published(home: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", home / "data.git", "ls-tree", "-r", "--name-only", "main"],
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.split()


def meanwhile(host: Host, alice: Path, act: Callable[[], None], **settings: str) -> tuple[int, str]:
    """Run Alice's task, and do something while its body runs."""
    (alice / "body.waits").touch()
    with host.start(ALICE, alice, "run", "module", *ON_MAIN, **settings) as running:
        deadline = time.monotonic() + 60
        while not (alice / "body.runs").exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        act()
        (alice / "body.waits").unlink()
        said, _ = running.communicate(timeout=60)
    return running.returncode, said


def swapping(root: Path) -> str:
    """What puts a directory of Mallory's in the place of each attempt's, as far as that can be done."""
    return f"""
        cd {root} 2>/dev/null || exit 0
        for attempt in *-*; do
            mv "$attempt" "$attempt.real" && mkdir -p "$attempt/workspace" && echo evil > "$attempt/workspace/EVIL.txt"
        done
        true
    """


def test_who_makes_the_former_default_first_publishes_nothing_through_anothers_run(host, alice):
    host.shell(MALLORY, f"mkdir -p {host.temporary}/perago/workspaces")

    def act():
        host.shell(MALLORY, swapping(host.temporary / "perago/workspaces"))

    code, said = meanwhile(host, alice, act)
    assert (code, published(alice)) == (0, ["a.txt", "mine.txt"]), said


BECOME = """
#define _GNU_SOURCE
#include <unistd.h>
int main(void) {
    if (setresuid(geteuid(), geteuid(), geteuid()) || getuid() != %d) return 1;
    if (write(1, "x", 1) != 1) return 2;
    for (int second = 0; second < 900; second++) sleep(1);
}
"""

LEAVES = """
import subprocess
from pathlib import Path
from pydantic import BaseModel
from perago import WorkspaceSpec, task

class Nothing(BaseModel):
    pass

@task(name="leaves", owner_email="alice@example.org", workspace=WorkspaceSpec())
def leaves(workspace: Path, params: Nothing) -> Nothing:
    if Path("left.pid").exists():
        (workspace / "mine.txt").write_text("of the second try")
        return Nothing()
    (workspace / "left.txt").write_text("of the first try")
    started = subprocess.Popen(["./become"], stdout=subprocess.PIPE)
    started.stdout.read(1)
    Path("left.pid").write_text(str(started.pid))
    return Nothing()
"""


@pytest.fixture
def become(host: Host, alice: Path) -> Iterator[None]:
    """A set-user-ID program `become` in Alice's home, which becomes Mallory wholly: she may not end it."""
    if shutil.which("cc") is None or os.statvfs(alice).f_flag & os.ST_NOSUID:
        pytest.skip("needs a C compiler, and a directory for temporary files that allows set-user-ID programs")
    (alice / "become.c").write_text(BECOME % MALLORY)
    subprocess.run(["cc", "-o", alice / "become", alice / "become.c"], check=True)
    os.chown(alice / "become", MALLORY, MALLORY)
    (alice / "become").chmod(0o4755)
    (alice / "leaving.py").write_text(LEAVES)
    yield
    for pid in alice.glob("left.pid"):
        os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_try_that_leaves_a_program_of_another_user_publishes_nothing_and_names_it(host, alice, become, start):
    once_more = ("run", "leaving:leaves", "--retries", "1", *ON_MAIN)
    code, said = host.perago(ALICE, alice, *once_more, PERAGO_BODY_START=start)
    pid = (alice / "left.pid").read_text()
    assert f"the body left process {pid} (become) running as user {MALLORY}" in " ".join(said.split())
    assert Path(f"/proc/{pid}").exists()
    assert (code, published(alice)) == (0, ["a.txt", "mine.txt"]), said


def test_a_second_honest_user_just_works(host, alice):
    carol = host.home("carol", CAROL)
    assert host.perago(ALICE, alice, "run", "module", *ON_MAIN)[0] == 0
    assert host.perago(CAROL, carol, "import", "src", *ON_MAIN)[0] == 0
    code, said = host.perago(CAROL, carol, "run", "module", *ON_MAIN)
    assert (code, published(carol)) == (0, ["a.txt", "mine.txt"]), said
    made = [path for home in (alice, carol) for path in (home / ".local").rglob("*") if path.is_dir()]
    assert made
    assert {path.stat().st_mode & 0o077 for path in made} == {0}


@pytest.mark.parametrize(
    ("script", "root", "why"),
    [
        ("mkdir {tmp}/shared", "shared", "belongs to user 20002, who can change its content"),
        ("mkdir {tmp}/shared", "shared/alice", "lies below {tmp}/shared, which belongs to user 20002"),
        ("ln -s {home} {tmp}/link", "link/work", "is reached by a symbolic link in {tmp} that belongs to user 20002"),
    ],
    ids=["its root", "above its root", "a link to its root"],
)
def test_a_root_that_another_user_can_change_is_refused_before_anything_runs(host, alice, script, root, why):
    tmp = host.temporary
    host.shell(MALLORY, script.format(tmp=tmp, home=alice))
    code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN, PERAGO_WORKSPACE_ROOT=str(tmp / root))
    assert code == 2
    assert f"PERAGO_WORKSPACE_ROOT (the environment) is {tmp / root}, which {why.format(tmp=tmp)}" in said
    assert not (alice / "body.runs").exists()


def test_a_root_of_ones_own_that_all_may_write_to_is_refused_until_it_is_mended(host, alice):
    host.shell(ALICE, f"mkdir {host.temporary}/open")
    root = {"PERAGO_WORKSPACE_ROOT": f"{host.temporary}/open"}
    code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN, **root)
    assert code == 2
    assert f"can be written by all users (mode 0777); run `chmod go-w {host.temporary}/open`" in said
    host.shell(ALICE, f"chmod go-w {host.temporary}/open")
    assert host.perago(ALICE, alice, "run", "module", *ON_MAIN, **root)[0] == 0


def test_where_nobody_else_is_a_volume_that_all_may_write_to_serves(host, alice):
    """Kubernetes' emptyDir has the mode 0777, and belongs to root."""
    volume = host.path / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    root = {"PERAGO_WORKSPACE_ROOT": f"{volume}/workspaces"}
    code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN, **root)
    assert (code, "set PERAGO_ROOT_PARENTS=trusted" in said) == (2, True)
    code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN, **root, PERAGO_ROOT_PARENTS="trusted")
    assert code == 0, said
