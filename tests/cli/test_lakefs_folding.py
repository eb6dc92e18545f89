"""Names that a file system takes for one: the attempt fails before anything is written, on a real server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from perago.stores.lakefs import materialize
from perago.values.names import Folding
from perago.workspace.folding import probe_folding

FOLDS_BOTH = Folding(case=True, unicode=True)
PAIRS = {
    "case": ("in/Read.txt", "in/read.txt", "upper and lower case"),
    "case of a directory": ("IN/more.txt", "in/a.txt", "upper and lower case"),
    "composition": ("caf\u00e9.txt", "cafe\u0301.txt", "composed and decomposed characters"),
}


@pytest.fixture(params=["told", "real"])
def folding_place(request, tmp_path, monkeypatch):
    """Where workspaces lie that does not tell such names apart: it is told so, or it is really so."""
    if request.param == "told":
        monkeypatch.setattr(materialize, "probe_folding", lambda _target: FOLDS_BOTH)
        yield tmp_path / "workspaces-that-fold"
        return
    if probe_folding(tmp_path) == FOLDS_BOTH:  # macOS
        yield tmp_path / "workspaces-that-fold"
        return
    disk = tmp_path / "folding-disk"
    disk.mkdir()
    reason = mount_folding(tmp_path / "image", disk)
    if reason:
        pytest.skip(f"no file system here that folds names: {reason}")
    try:
        place = disk / "workspaces"
        place.mkdir()
        subprocess.run(["chattr", "+F", place], check=True, capture_output=True)
        assert probe_folding(place) == FOLDS_BOTH
        yield place
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def mount_folding(image: Path, disk: Path) -> str:
    """Mount an ext4 whose directories may fold; returns why that cannot be, or nothing."""
    if not Path("/sys/fs/ext4/features/casefold").exists():
        return "this kernel's ext4 has no casefold feature (CONFIG_UNICODE)"
    make, change = shutil.which("mkfs.ext4"), shutil.which("chattr")
    if make is None or change is None:
        return "mkfs.ext4 and chattr are not installed"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([make, "-q", "-O", "casefold", image], check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, disk], check=False, capture_output=True, text=True)
    return mounted.stderr.strip() if mounted.returncode else ""


@pytest.mark.parametrize("pair", PAIRS)
def test_names_that_the_workspace_would_confuse_end_a_run_before_anything_is_written(
    songs, perago, folding_place, monkeypatch, pair
):
    one, other, told_apart = PAIRS[pair]
    songs.repository.commit_files("main", {one: b"one", other: b"other"})
    head = songs.head()
    monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", str(folding_place))
    said = perago("run", "cli_bodies:write", *songs.on_main)
    told = said.err.replace("\n", " ")
    assert said.code == 1
    assert "are the same name on this file system" in told
    assert told_apart in told
    assert "body: running" not in told
    assert [path for path in folding_place.rglob("*") if path.is_file()] == []
    assert songs.head() == head
    assert songs.staging_branches() == []


def test_names_outside_of_the_prefix_confuse_nothing(songs, perago, folding_place, monkeypatch):
    songs.repository.commit_files("main", {"elsewhere/A.txt": b"one", "elsewhere/a.txt": b"other"})
    monkeypatch.setenv("PERAGO_WORKSPACE_ROOT", str(folding_place))
    said = perago("run", "cli_bodies:replace_all", *songs.on_main)
    assert said.code == 0, said.err
    assert songs.files()["elsewhere/A.txt"] == "one"
