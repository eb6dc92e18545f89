"""`.git` in every spelling: what git itself refuses is the measure."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from perago.errors import ObjectNameError
from perago.values.names import check_git_name

REFUSED = [
    ".git",
    ".GIT",
    ".gIt",
    ".git.",
    ".git...",
    ".git ",
    ".git . .",
    "git~1",
    "GIT~1",
    "git~1.",
    ".git::$INDEX_ALLOCATION",
    ".git:stream",
    ".git ::x",
    "git~1:x",
    ".g\u200cit",
    ".\u200dgit",
    "\ufeff.git",
    ".git\u206f",
    ".g\u206ait",
    ".G\u200cI\ufeffT",
    ".git/config",
    "a/.git",
    "a/.GIT/hooks/pre-commit",
    "a/b/git~1/x",
]

TAKEN = [
    ".gitignore",
    ".gitattributes",
    ".git-x",
    ".gitx",
    "git",
    "git~2",
    "git~10",
    "git~1x",
    "a.git",
    "x.git/y",
    "_git",
    ".g\u0131t",
    ".gi\u0307t",
    ".github/workflows/ci.yml",
    "a/.gitkeep",
    ". git",
    ".g it",
]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_dot_git_is_refused_in_any_spelling(name):
    with pytest.raises(ObjectNameError, match=r"\.git"):
        check_git_name(name)


@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_what_only_looks_like_it_is_taken(name):
    assert check_git_name(name) is None


def test_a_git_name_is_an_object_name_first():
    with pytest.raises(ObjectNameError, match=r"'\.\.'"):
        check_git_name("../x")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_agrees(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    strict = ["git", "-c", "core.protectHFS=true", "-c", "core.protectNTFS=true"]
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, env=environment, check=True)
    blob = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"],
        cwd=tmp_path,
        env=environment,
        check=True,
        input=b"",
        capture_output=True,
    ).stdout.strip()
    for name in [*REFUSED, *TAKEN]:
        line = b"100644 " + blob + b"\t" + name.encode() + b"\0"
        command = [*strict, "update-index", "--add", "-z", "--index-info"]
        answer = subprocess.run(command, cwd=tmp_path, env=environment, check=False, input=line, capture_output=True)
        refused = answer.returncode != 0 or b"Ignoring path" in answer.stderr
        assert refused == (name in REFUSED), (ascii(name), answer.stderr)
        subprocess.run(["git", "read-tree", "--empty"], cwd=tmp_path, env=environment, check=True)
