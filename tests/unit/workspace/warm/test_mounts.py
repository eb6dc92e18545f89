"""The file system of a path, from the system's list of mounts."""

from __future__ import annotations

import os
import sys

import pytest

from perago.workspace.warm.mounts import Mount, has_mounts, kind_at, mounts

MOUNTS = [
    Mount(b"/", "ext4"),
    Mount(b"/mnt", "nfs4"),
    Mount(b"/mnt/own", "xfs"),
    Mount(b"/over", "ext4"),
    Mount(b"/over", "tmpfs"),
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/home", "ext4"),
        (b"/mnt", "nfs4"),
        (b"/mnt/x", "nfs4"),
        (b"/mntx", "ext4"),
        (b"/mnt/own/deep", "xfs"),
        (b"/over/x", "tmpfs"),
    ],
)
def test_the_nearest_mount_counts_and_the_last_one_at_a_place(path, kind):
    assert kind_at(path, MOUNTS) == kind


def test_what_is_mounted_below():
    assert has_mounts(b"/mnt", MOUNTS)
    assert has_mounts(b"/mnt/own", MOUNTS)
    assert not has_mounts(b"/mnt/own/x", MOUNTS)
    assert not has_mounts(b"/ov", MOUNTS)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its mounts in /proc")
def test_this_system_tells(tmp_path):
    assert kind_at(os.fsencode(tmp_path.resolve()), mounts())
