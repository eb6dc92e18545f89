"""Which directories another user could change or replace, and that Perago makes its own for their user alone."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from perago.errors import RuntimeConfigError
from perago.files.private_directory import fault_above, fault_of, make_private

MALLORY = 31337
OTHER_GROUP = 31338


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory of this user's, below others that are as well."""
    return tmp_path.resolve()


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for directories of two users")


def make(path: Path, mode: int, owner: int = -1, group: int = -1) -> Path:
    path.mkdir(parents=True)
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


# ---------------------------------------------------------------- making


def test_what_is_missing_is_made_for_its_user_alone(top):
    before = os.umask(0)
    try:
        make_private(top / "a/b/c", "root")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((top / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


def test_one_that_is_there_stays_as_it_is(top):
    make(top / "open to look at", 0o755)
    make_private(top / "open to look at", "root")
    assert stat.S_IMODE((top / "open to look at").stat().st_mode) == 0o755


def test_a_file_in_the_way_is_the_systems_error(top):
    (top / "file").write_text("")
    for path in (top / "file", top / "file/below"):
        with pytest.raises(NotADirectoryError):
            make_private(path, "root")


# ---------------------------------------------------------------- the directory itself


@pytest.mark.usefixtures("as_root")
def test_a_directory_of_another_user_is_refused_and_its_owner_named(top):
    path = make(top / "theirs", 0o700, owner=MALLORY)
    with pytest.raises(RuntimeConfigError) as refused:
        make_private(path, "workspace root")
    assert str(refused.value) == (
        f"workspace root {path} belongs to user {MALLORY}, who can change its content; choose a directory of your own"
    )
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    assert "belongs to user nobody, " in fault_of(path)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_directory_that_all_may_write_to_is_refused_with_the_command_that_mends_it(top, mode):
    path = make(top / "it's open", mode)
    assert fault_of(path) == (
        f"can be written by all users (mode {mode:04o}); run `chmod go-w '{top}/it'\"'\"'s open'`, or choose a "
        f"directory of your own"
    )
    path.chmod(mode & ~0o022)
    assert fault_of(path) is None


def test_roots_own_directory_is_fine_for_others(open_directory, as_nobody):
    if os.geteuid() != 0:
        pytest.skip("needs root, for directories of two users")
    path = make(open_directory / "roots", 0o755)
    assert as_nobody(lambda: fault_of(path)) is None


# ---------------------------------------------------------------- groups


def known(monkeypatch, *, group: str, members: tuple[str, ...] = (), **users: tuple[int, int]) -> None:
    """What the system says of one group and of users (name=(uid, gid)), besides this one."""
    users["me"] = (os.geteuid(), 4711)
    entries = [SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid) for name, (uid, gid) in users.items()]
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_gid=gid, gr_mem=list(members)))
    monkeypatch.setattr(pwd, "getpwall", lambda: entries)


@pytest.fixture
def of_group(as_root, top) -> Path:
    return make(top / "of a group", 0o770, group=OTHER_GROUP)


def test_a_group_of_people_is_refused(of_group, monkeypatch):
    known(monkeypatch, group="lab", members=("me", "bob"), bob=(1002, 1002))
    assert fault_of(of_group).startswith("can be written by other users of its group (mode 0770); run `chmod go-w ")
    known(monkeypatch, group="users", bob=(1002, OTHER_GROUP))
    assert fault_of(of_group) is not None


def test_a_group_of_ones_own_and_one_of_the_systems_accounts_are_fine(of_group, monkeypatch):
    known(monkeypatch, group="me", members=("me",))
    assert fault_of(of_group) is None
    known(monkeypatch, group="syslog", members=("logd",), logd=(104, OTHER_GROUP), bob=(1002, 1002))
    assert fault_of(of_group) is None


def test_where_accounts_are_not_listed_only_a_group_of_ones_own_name_is_fine(of_group, monkeypatch):
    """LDAP and Active Directory, as a rule."""
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="alice"))
    for group, is_fine in (("domain users", False), ("alice", True)):
        known(monkeypatch, group=group)
        monkeypatch.setattr(pwd, "getpwall", list)
        assert (fault_of(of_group) is None) == is_fine


def test_a_group_without_a_name_is_fine_for_who_is_in_it(as_root, open_directory, as_nobody):
    """A number that a container was given, as Kubernetes' fsGroup."""
    nobodys = grp.getgrgid(65534).gr_gid
    path = make(open_directory / "volume", 0o2775, group=OTHER_GROUP)
    assert as_nobody(lambda: fault_of(path)) is not None
    os.chown(path, -1, nobodys)
    path.chmod(0o2775)
    assert as_nobody(lambda: fault_of(path)) is None


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX ACLs are looked at on Linux alone")
def test_a_user_whom_an_access_control_list_names_counts(top):
    path = make(top / "named", 0o770)
    assert fault_of(path) is None
    entries = [(0x01, 7, 0xFFFFFFFF), (0x02, 7, MALLORY), (0x04, 7, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF)]
    entries.append((0x20, 0, 0xFFFFFFFF))
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", acl)
    except OSError as exc:
        pytest.skip(f"needs a file system with access control lists ({exc.strerror})")
    assert "other users of its group" in fault_of(path)


# ---------------------------------------------------------------- above it


def test_a_sticky_directory_is_fine_above_and_one_that_all_may_write_to_is_not(top):
    above = make(top / "above", 0o1777)
    assert fault_above(above / "root") is None
    assert fault_above(above / "not/there/yet") is None
    above.chmod(0o777)
    assert fault_above(above / "root") == (
        f"lies below {above}, where all users (mode 0777) could replace it; run `chmod +t {above}`, choose a directory "
        f"elsewhere, or set PERAGO_ROOT_PARENTS=trusted if nobody else uses this machine, as in a container"
    )


@pytest.mark.usefixtures("as_root")
def test_what_belongs_to_another_user_above_is_refused(top):
    theirs = make(top / "theirs", 0o755, owner=MALLORY)
    assert f"lies below {theirs}, which belongs to user {MALLORY}" in fault_above(theirs / "root")
    (theirs / "deeper").mkdir()
    assert f"lies below {theirs}, which belongs" in fault_above(theirs / "deeper/root")


@pytest.mark.usefixtures("as_root")
def test_links_are_followed_as_the_system_follows_them(top):
    """A link in a sticky directory is its owner's to change; what it leads through counts as well."""
    sticky, own = make(top / "tmp", 0o1777), make(top / "own", 0o700)
    theirs = make(top / "theirs", 0o755, owner=MALLORY)
    (sticky / "link").symlink_to("../own")
    assert fault_above(sticky / "link/root") is None
    os.chown(sticky / "link", MALLORY, -1, follow_symlinks=False)
    assert fault_above(sticky / "link/root") == (
        f"is reached by a symbolic link in {sticky} that belongs to user {MALLORY}; choose another"
    )
    (own / "out").symlink_to(theirs / "in")
    (theirs / "in").mkdir()
    assert f"lies below {theirs}" in fault_above(own / "out/root")
    (own / "absolute").symlink_to(own)
    assert fault_above(own / "absolute/root") is None
    (own / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        fault_above(own / "loop/root")
