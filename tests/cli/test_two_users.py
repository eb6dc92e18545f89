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
from typing import Any

import pytest

from perago.tasks.import_path import PACKAGES
from servers.machine import slowness

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


def as_user(uid: int, *command: str, group: int | None = None) -> list[str]:
    """A command as another user, who may read everything: the checkout of the tests may be closed to others."""
    return [
        "setpriv",
        *(f"--reuid={uid}", f"--regid={uid}", "--clear-groups" if group is None else f"--groups={group}"),
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

    def start(
        self,
        uid: int,
        home: Path,
        *arguments: str,
        cwd: Path | None = None,
        by: str = "module",
        group: int | None = None,
        **settings: str,
    ) -> subprocess.Popen[str]:
        """Start the program `by` its module or its script."""
        program = [sys.executable, "-m", "perago"] if by == "module" else ["perago"]
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "TMPDIR": str(self.temporary),
            **settings,
        }
        return subprocess.Popen(
            as_user(uid, *program, *arguments, group=group),
            cwd=cwd or home,
            umask=-1 if group is None else 0o077,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def perago(self, uid: int, home: Path, *arguments: str, **options: Any) -> tuple[int, str]:
        with self.start(uid, home, *arguments, **options) as process:
            said, _ = process.communicate(timeout=120 * slowness())
        return process.returncode, said

    def shell(self, uid: int, script: str) -> None:
        subprocess.run(as_user(uid, "sh", "-c", f"umask 0; {script}"), check=True, timeout=60 * slowness())


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
        deadline = time.monotonic() + 60 * slowness()
        while not (alice / "body.runs").exists() and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        act()
        (alice / "body.waits").unlink()
        said, _ = running.communicate(timeout=60 * slowness())
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


# ---------------------------------------------------------------- a directory that others can write


@pytest.fixture
def shared(host: Host) -> Path:
    """A directory in which Mallory has planted a task, settings, and a file for each package that Perago needs."""
    path = host.path / "shared"
    path.mkdir()
    for name in PACKAGES | {"planted"}:
        (path / f"{name}.py").write_text(f"import os; open({str(host.temporary)!r} + '/ran-' + str(os.getuid()), 'w')")
    (path / "perago.toml").write_text('worker_id = "mallory"\n[lakefs]\nendpoint_url = "http://127.0.0.1:9"\n')
    for each in (path, *path.iterdir()):
        os.chown(each, MALLORY, MALLORY)
    return path


LAKEFS = {"LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "AKIA", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "hunter2-Tr0ub4dor"}


@pytest.mark.parametrize("python_path", [None, ":/nowhere", "."], ids=["none", "an empty entry", "a dot"])
@pytest.mark.parametrize("by", ["module", "script"])
def test_nothing_runs_and_nothing_counts_that_another_user_has_planted(host, alice, shared, by, python_path):
    environment = {"PYTHONPATH": python_path or "", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **LAKEFS}
    options = {"cwd": shared, "by": by, **environment}
    code, said = host.perago(ALICE, alice, "run", "planted", *ON_MAIN, **options)
    assert code == 2
    mend = "who could replace it; choose a directory elsewhere, or set PERAGO_ROOT_PARENTS=trusted"
    assert f"module 'planted' is not imported from {shared}: the directory belongs to user {MALLORY}" in said, said
    code, said = host.perago(ALICE, alice, "log", "--repo", "lakefs://songs", "--branch", "main", **options)
    assert code == 2
    assert (
        f"{shared}/perago.toml is passed over: it lies below {shared}, which belongs to user {MALLORY}, {mend}" in said
    )
    assert not list(host.temporary.glob("ran-*"))


def test_a_module_that_is_found_elsewhere_loads_in_a_directory_of_others(host, alice, shared):
    code, said = host.perago(ALICE, alice, "check", "module", "--json", cwd=shared)
    assert code == 0, said
    assert '"passed over"' in said
    assert not list(host.temporary.glob("ran-*"))


def test_where_nobody_else_is_a_directory_of_another_user_serves(host, alice, shared):
    """A project that root uses within a container."""
    (shared / "planted.py").write_text(BODY)
    code, said = host.perago(
        ALICE, alice, "check", "planted", cwd=shared, PYTHONPATH="", PERAGO_ROOT_PARENTS="trusted", **LAKEFS
    )
    assert code == 0, said
    assert "withheld     LAKECTL_CREDENTIALS_ACCESS_KEY_ID (the environment)" in said
    assert not list(host.temporary.glob("ran-*"))


# ---- repositories


GROUP = 20100

FREE = """
from pydantic import BaseModel
from perago import task

class Nothing(BaseModel):
    pass

@task(name="free", owner_email="alice@example.org")
def free(params: Nothing) -> Nothing:
    return Nothing()
"""


def test_a_repository_of_another_user_is_refused_until_it_is_trusted(host, alice):
    mallory = host.home("mallory", MALLORY)
    assert host.perago(MALLORY, mallory, "import", "src", *ON_MAIN)[0] == 0
    theirs = ("--repo", str(mallory / "data.git"), "--branch", "main")
    for command in (("run", "module"), ("log",), ("runs",), ("doctor",)):
        code, said = host.perago(ALICE, alice, *command, *(theirs[:2] if command[0] in ("runs", "doctor") else theirs))
        assert code == 2, said
        assert f"git config --global --add safe.directory {mallory / 'data.git'}" in said
    host.shell(ALICE, f"HOME={alice} git config --global --add safe.directory {mallory / 'data.git'}")
    assert host.perago(ALICE, alice, "log", *theirs)[0] == 0


def test_a_lock_that_another_user_has_planted_leaves_the_file_behind_it_alone(host, alice):
    (alice / "diary.txt").write_text("Dear diary")
    os.chown(alice / "diary.txt", ALICE, ALICE)
    host.shell(ALICE, f"chmod 777 {alice}/data.git/perago")
    host.shell(MALLORY, f"cd {alice}/data.git/perago && rm publish.lock && ln -s {alice}/diary.txt publish.lock")
    code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN)
    assert (code, "can be written by all users" in said) == (2, True), said
    host.shell(ALICE, f"HOME={alice} git config --global --add safe.directory {alice}/data.git")
    for _ in range(2):
        code, said = host.perago(ALICE, alice, "run", "module", *ON_MAIN)
        assert (code, "publish.lock" in said) == (1, True), said
        host.shell(ALICE, f"chmod 755 {alice}/data.git/perago")
    assert (alice / "diary.txt").read_text() == "Dear diary"
    assert published(alice) == ["a.txt"]


def test_a_repository_that_another_user_could_replace_is_refused(host, alice):
    host.shell(ALICE, f"mkdir {alice}/open && mv {alice}/data.git {alice}/open && chmod 777 {alice}/open")
    there = ("--repo", "open/data.git", "--branch", "main")
    code, said = host.perago(ALICE, alice, "run", "module", *there)
    assert (code, f"the repository {alice}/open/data.git lies below {alice}/open, where all users" in said) == (2, True)
    code, said = host.perago(ALICE, alice, "import", "src", "--repo", "open/new.git", "--branch", "main")
    assert (code, (alice / "open/new.git").exists()) == (2, False), said
    assert host.perago(ALICE, alice, "run", "module", *there, PERAGO_ROOT_PARENTS="trusted")[0] == 0


def test_a_group_shares_a_repository_once_each_of_them_trusts_it(host, alice):
    """Both with the umask 077, so that each mode is one that `core.sharedRepository` asks for."""
    carol, repository = host.home("carol", CAROL), host.path / "shared.git"
    host.shell(0, f"git init --quiet --bare --shared=group --initial-branch=main {repository}")
    host.shell(0, f"chown -R {ALICE}:{GROUP} {repository}; chmod -R o= {repository}")
    there = ("--repo", str(repository), "--branch", "main")
    assert host.perago(ALICE, alice, "import", "src", *there, group=GROUP)[0] == 0
    code, said = host.perago(CAROL, carol, "run", "module", *there, group=GROUP)
    assert (code, f"safe.directory {repository}" in said) == (2, True), said
    for uid, home in ((ALICE, alice), (CAROL, carol)):
        host.shell(uid, f"HOME={home} git config --global --add safe.directory {repository}")
    for number, (uid, home) in enumerate([(CAROL, carol), (ALICE, alice), (CAROL, carol)]):
        (home / "src/large.bin").write_bytes(bytes([number]) * (1 << 20))
        code, said = host.perago(uid, home, "run", "module", *there, group=GROUP)
        assert code == 0, said
        for branch in ("main", f"team/of-{number}"):
            code, said = host.perago(uid, home, "import", "src", *there[:3], branch, group=GROUP)
            assert code == 0, said
    code, said = host.perago(CAROL, carol, "runs", *there[:2], group=GROUP)
    assert (code, said.count("COMPLETED")) == (0, 2), said
    for path in (repository, *(path for path in repository.rglob("*") if "runs" not in path.parts)):
        status = path.stat()
        needed = 0o2070 if path.is_dir() else 0o040
        assert (status.st_mode & needed, status.st_gid) == (needed, GROUP), path
    for log in (path for path in (repository / "logs").rglob("*") if path.is_file()):
        assert log.stat().st_mode & 0o060 == 0o060, log


@pytest.mark.parametrize("command", [("run", "free"), ("runs",), ("run", "--resume", "20260101-000000-abcdef")])
def test_records_of_runs_in_a_directory_of_another_user_are_refused(host, alice, command):
    (alice / "free.py").write_text(FREE)
    host.shell(0, f"umask 022; mkdir -p {alice}/.local/state/perago/runs && chown -R {ALICE} {alice}/.local")
    host.shell(0, f"chown {MALLORY} {alice}/.local/state/perago/runs && chmod 777 {alice}/.local/state/perago/runs")
    code, said = host.perago(ALICE, alice, *command)
    assert code == 2, said
    assert f"the directory of the run records {alice}/.local/state/perago/runs belongs to user {MALLORY}" in said
    assert list((alice / ".local/state/perago/runs").iterdir()) == []


def test_records_of_runs_that_another_user_could_replace_are_refused(host, alice):
    state = host.temporary / "state"
    host.shell(MALLORY, f"mkdir {state}")
    code, said = host.perago(ALICE, alice, "runs", XDG_STATE_HOME=str(state))
    assert (code, f"which belongs to user {MALLORY}, who could replace it" in said) == (2, True), said
