"""A directory of the workspace is swapped for a link in the worst moment: nothing outside is read or removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perago.errors import WorkspaceContentError
from perago.files import beneath
from perago.files.beneath import Beneath
from perago.workspace import empty_directory, manifest, removal, scan
from perago.workspace.digest import SHA256, digest_bytes, digest_file
from perago.workspace.patterns import Selection
from perago.workspace.reading import open_workspace_file

ALL = Selection()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory outside of every workspace."""
    path = tmp_path / "outside"
    (path / "below").mkdir(parents=True)
    for name in ("file", "below/file"):
        (path / name).write_text("outside")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    (path / "d/below").mkdir(parents=True)
    for name in ("d/file", "d/below/file"):
        (path / name).write_text("inside!")
    return path


def swap(directory: Path, outside: Path) -> None:
    directory.rename(directory.with_name(f"{directory.name}-aside"))
    directory.symlink_to(outside)


def intact(outside: Path) -> bool:
    found = {str(path.relative_to(outside)): path for path in outside.rglob("*") if path.is_file()}
    return set(found) == {"file", "below/file"} and all(path.read_text() == "outside" for path in found.values())


class Meddler:
    """Calls a function of `os`, and swaps a directory before a call that is the worst one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, is_worst, meddle) -> None:
        self.done = False
        self._call, self._is_worst, self._meddle = getattr(os, name), is_worst, meddle
        monkeypatch.setattr(os, name, self)

    def __call__(self, *arguments, **options):
        if not self.done and self._is_worst(*arguments, **options):
            self.done = True
            self._meddle()
        return self._call(*arguments, **options)


def test_between_a_scans_look_at_a_directory_and_into_it(monkeypatch, workspace, outside):
    Meddler(monkeypatch, "open", lambda path, *_, **__: path == "d", lambda: swap(workspace / "d", outside))
    with pytest.raises(WorkspaceContentError, match="'d' was a directory a moment ago, and is no longer one"):
        scan.scan(workspace, ALL)


def test_between_the_scan_and_the_digests(monkeypatch, workspace, outside):
    scanned = scan.scan

    def scan_then_swap(*arguments):
        found = scanned(*arguments)
        swap(workspace / "d", outside)
        return found

    monkeypatch.setattr(manifest, "scan", scan_then_swap)
    with pytest.raises(WorkspaceContentError, match="no longer a regular file"):
        manifest.take_manifest(workspace, ALL, {})


@pytest.mark.parametrize("directory", ["d", "d/below"])
def test_between_the_scan_and_reading_a_file(workspace, outside, directory):
    with Beneath(workspace) as files:
        swap(workspace / directory, outside)
        with pytest.raises(WorkspaceContentError, match="d/below/file"):
            digest_file(files, "d/below/file", SHA256, 7)
        with pytest.raises(WorkspaceContentError, match="d/below/file"), open_workspace_file(files, "d/below/file"):
            pass
        with pytest.raises(OSError) as refused:
            files.lstat("d/below/file")
        assert refused.value.errno in beneath.REPLACED
    assert intact(outside)


@pytest.mark.parametrize("directory", ["d", "d/below"])
def test_between_two_files_of_a_directory(workspace, outside, directory):
    """It is still held open: what is read is what was there."""
    (workspace / "d/below/other").write_text("another")
    with Beneath(workspace) as files:
        os.close(files.open("d/below/other"))
        swap(workspace / directory, outside)
        assert digest_file(files, "d/below/file", SHA256, 7) == digest_bytes(b"inside!", SHA256)


def test_the_workspace_itself_swapped(workspace, outside):
    swap(workspace, outside)
    with pytest.raises(OSError) as refused:
        Beneath(workspace)
    assert refused.value.errno in beneath.REPLACED


def test_no_path_leads_up(workspace, outside):
    with Beneath(workspace) as files:
        for path in ("../outside/file", "d/../../outside/file", "/etc/passwd", str(outside / "file"), "d//file", ""):
            for look in (files.open, files.lstat):
                with pytest.raises(OSError):
                    look(path)


@pytest.mark.parametrize("call", ["open", "rename", "scandir"])
def test_in_the_middle_of_a_removal(monkeypatch, workspace, outside, tmp_path, call):
    """What is swapped goes as the link that it is."""
    top = tmp_path / "top"
    top.mkdir()
    workspace.rename(top / "workspace")

    def meddle():
        (where,) = (path for path in top.rglob("*") if path.is_dir() and (path / "below").is_dir())
        swap(where, outside)

    second = iter([False, True])
    meddler = Meddler(monkeypatch, call, lambda *_, **__: next(second), meddle)
    removal.delete_tree(top)
    assert meddler.done
    assert not top.exists()
    assert intact(outside)


def test_a_directory_without_permissions_that_is_swapped_before_it_gets_them(open_directory, as_nobody):
    """Root is refused nothing, so another user makes the call."""
    outside, top = open_directory / "outside", open_directory / "top"

    def remove() -> int:
        outside.mkdir(mode=0o500)
        (top / "d").mkdir(parents=True)
        (top / "d").chmod(0)
        chmod = os.chmod

        def chmod_after_swap(path, *arguments, **options):
            if path == "d":
                swap(top / "d", outside)
            return chmod(path, *arguments, **options)

        os.chmod = chmod_after_swap
        try:
            removal.delete_tree(top)
        finally:
            os.chmod = chmod
        return outside.stat().st_mode & 0o777

    assert as_nobody(remove) == 0o500
    assert not top.exists()


def test_an_export_that_fails_while_its_directory_is_swapped_empties_no_other(tmp_path, outside):
    target = tmp_path / "target"

    def fill():
        with empty_directory.empty_directory(target):
            (target / "half").write_text("x")
            swap(target, outside)
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="full"):
        fill()
    assert intact(outside)
