"""File modes that a real `lakectl local` writes are read, and those that Perago writes are restored by it."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from lakectl_program import lakectl_program
from perago.stores.lakefs.api.answers import POSIX_KEY, is_executable


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def lakectl(lakefs_server, tmp_path):
    """Runs `lakectl local` with posix permissions in a directory, in an environment of its own."""
    program = lakectl_program()
    home = tmp_path / "home"
    home.mkdir()
    (home / ".lakectl.yaml").write_text(
        f"server: {{endpoint_url: '{lakefs_server.url}'}}\n"
        f"credentials: {{access_key_id: {lakefs_server.access_key_id}, "
        f"secret_access_key: {lakefs_server.secret_access_key}}}\n"
        "experimental: {local: {posix_permissions: {enabled: true}}}\n"
    )

    def run(*arguments, cwd=tmp_path):
        environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
        ran = subprocess.run(
            [program, "local", *arguments],
            env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return run


def modes(directory):
    """Permissions of the files below a directory, except lakectl's own and the fence."""
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.stat().st_mode)
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(".lakefs") and path.name != "perago_fence.yaml"
    }


def test_modes_go_from_lakectl_to_an_attempt_and_back(bench, lakectl, tmp_path):
    bench.commit({"seed": b"s"})
    address = f"lakefs://{bench.hooks.name}/main/"
    lakectl("clone", address, "theirs")
    theirs = tmp_path / "theirs"
    for name, mode in {"bin/tool": 0o750, "bin/other": 0o755, "plain": 0o640}.items():
        (theirs / name).parent.mkdir(exist_ok=True)
        (theirs / name).write_text(name)
        (theirs / name).chmod(mode)
    lakectl("commit", "-m", "modes", cwd=theirs)
    base = bench.head()
    assert "bin/" in bench.files(base)  # lakectl's marker of a directory with permissions

    work = bench.lay_out(base)
    assert modes(work.directory) == {"bin/tool": 0o755, "bin/other": 0o755, "plain": 0o644, "seed": 0o644}
    (work.directory / "bin/tool").chmod(0o644)
    work.make_executable("plain")
    work.edit({"bin/new": b"new", "bin/other": b"other, edited"})
    work.make_executable("bin/new")
    assert set(work.changes().modified) == {"bin/tool", "bin/other", "plain"}
    published = bench.stage(work).finish()

    expected = {"bin/tool": 0o644, "bin/other": 0o755, "bin/new": 0o755, "plain": 0o755, "seed": 0o644}
    assert modes(bench.lay_out(published).directory) == expected
    lakectl("clone", address, "ours")
    assert modes(tmp_path / "ours") == expected
    assert (tmp_path / "ours/bin/new").stat().st_uid == os.getuid()
    changed = lakectl("status", "--local", cwd=tmp_path / "ours")
    assert "bin/other" not in changed
    assert "bin/new" not in changed

    lakectl("pull", cwd=theirs)
    assert modes(theirs) == expected


def test_an_import_sees_lakectls_modes(bench, lakectl, tmp_path):
    bench.commit({"seed": b"s"})
    lakectl("clone", f"lakefs://{bench.hooks.name}/main/", "theirs")
    (tmp_path / "theirs/tool").write_text("#!")
    (tmp_path / "theirs/tool").chmod(0o755)
    lakectl("commit", "-m", "modes", cwd=tmp_path / "theirs")
    repository = bench.store.repository(bench.hooks.name)
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("#!")
    (source / "tool").chmod(0o755)
    assert repository.import_directory(source, "main", "same") is None
    (source / "tool").chmod(0o644)
    assert repository.import_directory(source, "main", "changed") is not None
    repository.export(bench.head(), "", tmp_path / "out")
    assert modes(tmp_path / "out")["tool"] == 0o644


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ('{"UID":0,"GID":0,"Mode":33261}', True),
        ('{"mode":33261}', True),  # Go's parser ignores case
        ('{"UID":0,"GID":0,"Mode":33188}', False),
        ('{"Mode":32832}', True),  # 0100
        ('{"Mode":32777}', False),  # 0011: group and others only
        ('{"UID":64}', False),
        ('{"Mode":"33261"}', False),
        ("[33261]", False),
        ("not JSON", False),
        ("[" * 100_000, False),
        ("", False),
    ],
)
def test_permissions_are_read_as_lakectl_writes_them_and_nonsense_is_no_permission(permissions, expected):
    assert is_executable({POSIX_KEY: permissions}) is expected
    assert is_executable({POSIX_KEY: permissions, "perago-executable": "true"})
    assert not is_executable({"perago-executable": "false"})
