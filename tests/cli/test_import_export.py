"""`perago import` and `perago export`."""

from __future__ import annotations

import os
import subprocess

import pytest

from small_disk import small_disk_at

COMMITTER = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
FILES = {"a.txt": "alpha", "deep/b.txt": "beta"}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3\n"
"""A small file that git-lfs would take for a pointer."""


def test_an_import_makes_the_repository_and_the_branch(project, perago):
    project.write(FILES)
    said = perago("import", "source", "--repo", "data.git", "--branch", "raw")
    assert said.code == 0
    assert said.out == f"Imported 2 files, 9 B, onto branch raw (2 added): commit {project.head('raw')}\n"
    assert project.git("ls-tree", "-r", "--name-only", "raw").split() == ["a.txt", "deep/b.txt"]
    assert project.git("fsck", "--strict") == ""  # nothing dangling either


def test_a_second_import_deletes_nothing_that_tasks_have_published(project, perago):
    source = project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    assert perago("run", "cli_single", "--repo", "data.git", "--branch", "main").code == 0
    published = project.head()
    (source / "a.txt").unlink()
    project.write({"c.txt": "gamma", "deep/b.txt": "new"})
    said = perago("import", "source", "--repo", "data.git", "-m", "A second one")
    assert said.code == 0
    assert said.out == f"Imported 2 files, 8 B, onto branch main (1 added, 1 modified): commit {project.head()}\n"
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["a.txt", "c.txt", "deep/b.txt", "single.txt"]
    assert project.git("rev-parse", "main~1") == published
    assert project.git("log", "-1", "--format=%s", "main") == "A second one"


def test_with_mirror_an_import_deletes_what_the_directory_does_not_have(project, perago):
    source = project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    (source / "a.txt").unlink()
    project.write({"c.txt": "gamma"})
    said = perago("import", "source", "--repo", "data.git", "--mirror")
    assert said.code == 0
    assert said.out == f"Imported 2 files, 9 B, onto branch main (1 added, 1 deleted): commit {project.head()}\n"
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["c.txt", "deep/b.txt"]


@pytest.mark.parametrize("options", [(), ("--mirror",)])
def test_a_dry_import_shows_what_would_change_and_changes_nothing(project, perago, options):
    source = project.write({**FILES, "large.bin": "x" * (1 << 20), "pointer": POINTER})
    perago("import", "source", "--repo", "data.git", "--prefix", "in")
    before = files_below(project.repo)
    (source / "a.txt").unlink()
    project.write({"c.txt": "gamma", "deep/b.txt": "new", "large.bin": "y" * (1 << 20)})
    dry = ("import", "source", "--repo", "data.git", "--prefix", "in", "--dry-run", *options)
    said = perago(*dry)
    assert said.code == 0
    deleted = ["  deleted   in/a.txt"] if options else []
    assert said.out.splitlines() == [
        "  added     in/c.txt",
        "  modified  in/deep/b.txt",
        "  modified  in/large.bin",
        *deleted,
    ]
    told = "Dry run: 1 added, 2 modified, 1 deleted" if options else "Dry run: 1 added, 2 modified"
    stays = "" if options else " 1 file that source does not have stays; --mirror deletes it."
    assert said.err.splitlines()[-1] == f"{told}. Nothing was imported.{stays}"
    changes = [
        {"change": "added", "path": "in/c.txt"},
        {"change": "modified", "path": "in/deep/b.txt"},
        {"change": "modified", "path": "in/large.bin"},
        *([{"change": "deleted", "path": "in/a.txt"}] if options else []),
    ]
    kept = 0 if options else 1
    assert perago(*dry, "--json").json == {"dry_run": True, "branch": "main", "changes": changes, "kept": kept}
    assert files_below(project.repo) == before
    assert perago("import", "source", "--repo", "data.git", "--prefix", "in", *options).code == 0
    assert perago(*dry).err.splitlines()[-1].startswith("Dry run: nothing changed. Nothing was imported.")


def test_a_dry_import_makes_neither_repository_nor_branch(project, perago):
    project.write(FILES)
    for _ in range(2):
        said = perago("import", "source", "--repo", "data.git", "--branch", "raw", "--dry-run")
        assert said.code == 0
        assert said.out == "  added     a.txt\n  added     deep/b.txt\n"
        assert not project.repo.exists()
    perago("import", "source", "--repo", "data.git")
    assert perago("import", "source", "--repo", "data.git", "--branch", "raw", "--dry-run").out == said.out
    assert project.git("branch", "--format=%(refname:short)") == "main"


def test_an_import_that_would_have_to_delete_says_what_does(project, perago):
    project.write({"data": "a file"})
    perago("import", "source", "--repo", "data.git")
    project.write({"data/a.csv": "1"}, "more")
    for options in ((), ("--dry-run",)):
        said = perago("import", "more", "--repo", "data.git", *options)
        assert (said.code, "--mirror" in said.err) == (2, True), said.err
    assert perago("import", "more", "--repo", "data.git", "--mirror").code == 0


def files_below(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_an_import_that_changes_nothing_says_so_and_leaves_the_branch(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    head = project.head()
    said = perago("import", "source", "--repo", "data.git")
    assert said.code == 0
    assert said.out == f"Nothing changed: branch main holds the same 2 files at {head}\n"
    assert project.head() == head


def test_a_prefix_is_all_that_an_import_touches(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    project.write({"x.txt": "x"}, "more")
    assert perago("import", "more", "--repo", "data.git", "--prefix", "deep", "--mirror").code == 0
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["a.txt", "deep/x.txt"]


def test_a_prefix_may_begin_like_a_drive(project, perago):
    source = project.write(FILES)
    assert perago("import", "source", "--repo", "data.git", "--prefix", "C:/x").code == 0
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["C:/x/a.txt", "C:/x/deep/b.txt"]
    assert perago("export", "out", "--repo", "data.git", "--prefix", "C:/x").code == 0
    assert (project.path / "out/a.txt").read_text() == "alpha"
    (source / "D:").write_text("x")
    said = perago("import", "source", "--repo", "data.git")
    assert (said.code, "starts with the drive" in said.err) == (2, True)


def test_an_import_as_json(project, perago):
    project.write(FILES)
    said = perago("import", "source", "--repo", "data.git", "--json")
    assert said.json == {
        "commit": project.head(),
        "changed": True,
        "branch": "main",
        "files": 2,
        "bytes": 9,
        "changes": {"added": 2, "modified": 0, "deleted": 0},
    }
    again = perago("import", "source", "--repo", "data.git", "--json").json
    assert (again["changed"], again["changes"]) == (False, None)


def test_a_link_to_a_directory_that_is_named_is_followed(project, perago):
    project.write(FILES)
    (project.path / "latest").symlink_to("source")
    assert perago("import", "latest", "--repo", "data.git").code == 0
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["a.txt", "deep/b.txt"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "Directory 'nowhere' does not exist"),
        (
            ("source", "--storage-namespace", "s3://bucket"),
            "--storage-namespace is for repositories on a server",
        ),
        (("source/a.txt",), "is a file"),
        (("empty",), "empty holds no file"),
        ((".",), "is inside ., the directory to import"),
        (("source", "--prefix", "../x"), "--prefix: a prefix '../x' must not have the segment '..'"),
        (("source", "--branch", "-x"), "'-x' is not a branch name"),
        (("source", "--branch", "a..b"), "'a..b' is not a branch name"),
        (("source", "--branch", "HEAD"), "'HEAD' is git's name for the current commit"),
        (("source", "--branch", "refs/heads/y"), "give only the branch's name: 'y'"),
        (("linked",), "the directory contains files that cannot be stored: 'link' is a symbolic link. There, "),
        (("linked",), "or leave them out with --exclude PATTERN"),
        (("dotgit",), "'.git', which git trees cannot hold; rename it, or leave it out with --exclude PATTERN"),
        (("source", "--exclude", "../x"), "--exclude: a pattern '../x' must not have the segment '..'"),
        (("source", "--exclude", "**"), "source holds no file that is not excluded"),
    ],
)
def test_what_cannot_be_imported_exits_with_2_and_makes_no_repository(project, perago, arguments, said):
    project.write(FILES)
    (project.path / "empty").mkdir()
    project.write({"a": ""}, "linked")
    (project.path / "linked" / "link").symlink_to("a")
    project.write({".git/config": ""}, "dotgit")
    done = perago("import", *arguments, "--repo", "data.git")
    assert done.code == 2
    assert said in done.err
    assert not project.repo.exists()


def test_what_is_excluded_is_left_out_and_stays_as_it_is_on_the_branch(project, perago):
    project.write({**FILES, "kept.tmp": "on the branch"})
    perago("import", "source", "--repo", "data.git")
    source = project.write({"kept.tmp": "changed", ".git/config": "x", "deep/more.tmp": "x"})
    (source / "link").symlink_to("a.txt")
    (source / "a.txt").unlink()
    excluded = [word for pattern in (".git", "**/*.tmp", "link") for word in ("--exclude", pattern)]
    said = perago("import", "source", "--repo", "data.git", "--mirror", *excluded)
    assert said.code == 0
    assert said.out == f"Imported 1 file, 4 B, onto branch main (1 deleted): commit {project.head()}\n"
    assert project.git("ls-tree", "-r", "--name-only", "main").split() == ["deep/b.txt", "kept.tmp"]
    assert project.show("kept.tmp") == "on the branch"


def test_an_exclude_that_matches_nothing_is_told_and_one_that_matches_is_not(project, perago):
    project.write({"a.txt": "a", "raw/orders.csv": "1", "tmp/x/y": "2"})
    patterns = ("*.csv", "nope/*", "tmp", "raw/*.txt", "**/*.csv")
    said = perago(
        "import", "source", "--repo", "data.git", *(word for pattern in patterns for word in ("--exclude", pattern))
    )
    assert said.code == 0
    assert [line for line in said.err.splitlines() if line.startswith("warning: ")] == [
        "warning: no file matches --exclude '*.csv'; '**/*.csv' matches in directories, too",
        "warning: no file matches --exclude 'nope/*'",
        "warning: no file matches --exclude 'raw/*.txt'",
    ]
    assert project.git("ls-tree", "-r", "--name-only", "main") == "a.txt"


def test_what_lies_below_an_excluded_directory_is_never_looked_at(project, perago, monkeypatch):
    project.write({"a.txt": "a", "big/deep/x.tmp": "1", "big/deep/y": "2"})
    looked_into = set()
    scandir = os.scandir

    def noted(path="."):
        status = os.stat(path)  # noqa: PTH116 - it may be a descriptor
        looked_into.add((status.st_dev, status.st_ino))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    patterns = ("big", "**/*.tmp", "*.csv")
    said = perago(
        "import", "source", "--repo", "data.git", *(word for pattern in patterns for word in ("--exclude", pattern))
    )
    assert said.code == 0
    assert [line for line in said.err.splitlines() if line.startswith("warning: ")] == [
        "warning: no file besides those below excluded directories matches --exclude '**/*.tmp'",
        "warning: no file matches --exclude '*.csv'; '**/*.csv' matches in directories, too",
    ]
    monkeypatch.undo()
    ids = {
        name: ((status := (project.path / name).stat()).st_dev, status.st_ino)
        for name in ("source", "source/big", "source/big/deep")
    }
    assert [name for name, identity in ids.items() if identity in looked_into] == ["source"]


def test_an_export_into_a_link_goes_where_that_leads(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    (project.path / "real").mkdir()
    (project.path / "link").symlink_to("real")
    assert perago("export", "link", "--repo", "data.git").code == 0
    assert {path.relative_to(project.path / "real").as_posix() for path in (project.path / "real").rglob("*.txt")} == (
        set(FILES)
    )


def test_an_export_of_what_cannot_be_laid_out_advises_what_an_export_can_do(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    project.git("branch", "linked")
    link = project.git("hash-object", "-w", "--stdin")  # of nothing: no target is needed for a link
    tree = project.path / "tree"
    tree.write_text(f"120000 blob {link}\tlink\n")
    with tree.open() as lines:
        made = subprocess.run(
            ["git", "-C", project.repo, "mktree"], stdin=lines, capture_output=True, text=True, check=True
        ).stdout.strip()
    project.git("update-ref", "refs/heads/linked", project.git(*COMMITTER, "commit-tree", made, "-m", "linked"))
    said = perago("export", "out", "--repo", "data.git", "--branch", "linked")
    assert said.code == 2
    assert "'link' is a symbolic link" in said.err
    assert "replace it in the repository, or leave it out with a --prefix that does not contain it" in said.err
    assert not (project.path / "out").exists()


def test_an_export_onto_a_full_disk_says_which_directory_is_to_be_larger(project, perago, tmp_path):
    project.write({"a.txt": "x" * 500_000})
    perago("import", "source", "--repo", "data.git")
    with small_disk_at(tmp_path, "64k") as disk:
        said = perago("export", str(disk / "out"), "--repo", "data.git")
        assert list(disk.iterdir()) == []
    assert said.code == 1
    assert "No space left on device; free some space, or put the directory on a larger disk" in said.err


def test_a_path_that_is_no_repository_is_left_alone(project, perago):
    project.write(FILES)
    project.write({"precious.txt": "keep me"}, "data.git")
    said = perago("import", "source", "--repo", "data.git")
    assert said.code == 2
    assert "is not a git repository" in said.err
    assert [path.name for path in project.repo.iterdir()] == ["precious.txt"]


def test_an_export_lays_out_the_head_of_a_branch(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    said = perago("export", "out", "--repo", "data.git")
    assert said.code == 0
    assert said.out == f"Exported 2 files of commit {project.head()} to out\n"
    assert (project.path / "out" / "deep" / "b.txt").read_text() == "beta"


def test_an_export_takes_the_beginning_of_a_commit_id_and_a_prefix(project, perago):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    first = project.head()
    project.write({"deep/b.txt": "changed"})
    perago("import", "source", "--repo", "data.git")
    said = perago("export", "out", "--repo", "data.git", "--ref", first[:8], "--prefix", "deep", "--json")
    assert said.json == {"commit": first, "files": 1, "directory": "out"}
    assert (project.path / "out" / "b.txt").read_text() == "beta"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("out", "--ref", "ffffffff"), "there is no commit 'ffffffff'"),
        (("out", "--ref", "f"), "there is no commit, branch or tag 'f'; an id needs at least 4 digits. Give"),
        (("out", "--ref", "707"), "there is no commit, branch or tag '707'; an id needs at least 4 digits. Give"),
        (("out", "--branch", "nope"), "has no branch 'nope'; it has 'main'. Create it"),
        (("out", "--branch", "main", "--ref", "x"), "give --branch or --ref, not both"),
        (("out", "--prefix", "nope"), "nope"),
        (("source",), "source is not empty"),
        (("source/a.txt",), "is a file"),
    ],
)
def test_what_cannot_be_exported_exits_with_2_and_writes_nothing(project, perago, arguments, said):
    project.write(FILES)
    perago("import", "source", "--repo", "data.git")
    done = perago("export", *arguments, "--repo", "data.git")
    assert done.code == 2
    assert said in done.err
    assert not (project.path / "out").exists()


@pytest.mark.parametrize("command", [("log",), ("export", "out")])
@pytest.mark.parametrize(
    ("repo", "said"),
    [
        ("nowhere.git", "Create one with `perago import"),
        ("source", "is not a git repository"),
        ("lakefs://data", "set LAKECTL_SERVER_ENDPOINT_URL"),
        ("https://host/data.git", "Clone a remote repository first"),
    ],
)
def test_a_repository_that_is_none_exits_with_2_and_a_mend(project, perago, command, repo, said):
    project.write(FILES)
    done = perago(*command, "--repo", repo)
    assert done.code == 2
    assert said in done.err
    assert [path.name for path in project.path.iterdir()] == ["source"]
