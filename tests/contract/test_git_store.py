"""The git store passes the suite; what people do, and every look at the outcome, is git's own."""

import subprocess
from contextlib import nullcontext

import pytest

from git_support import GIT_ENVIRONMENT
from perago.stores.git import GitStore
from perago.stores.git.history import compose
from perago.testing.contract import (
    CompletingStoreContract,
    ReusableStoreContract,
    StoreContract,
    TransactionalStoreContract,
)

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def git(store, *arguments, data=b"", may_fail=False, **environment):
    """Run git in the store's repository; returns what it prints, or None where it may fail and did."""
    done = subprocess.run(
        ["git", "-C", str(store.path), *arguments],
        env={**GIT_ENVIRONMENT, **environment},
        input=data,
        capture_output=True,
        timeout=120,
    )
    assert may_fail or done.returncode == 0, (arguments, done.stderr)
    return None if done.returncode else done.stdout


def line(store, *arguments, data=b"", **environment):
    return git(store, *arguments, data=data, **environment).decode().strip()


def put(store, branch, entries, message):
    """Commit index entries (`<mode> <id> TAB <name>`) on top of a branch, again if it moved; returns its id."""
    for _ in range(1_000):
        head, commit = make_commit(store, branch, entries, message)
        reference = f"refs/heads/{branch}"
        if git(store, "update-ref", reference, commit, head or "", may_fail=True) is not None:
            return commit
    raise AssertionError(f"{branch} moved each time")


def make_commit(store, branch, entries, message, *other_parents):
    index = {"GIT_INDEX_FILE": str(store.path.parent / "index")}
    head = store.branch_head(branch)
    git(store, "read-tree", *([head] if head else ["--empty"]), **index)
    git(store, "update-index", "-z", "--index-info", data=b"\0".join([*entries, b""]), **index)
    parents = [word for parent in (head, *other_parents) if parent for word in ("-p", parent)]
    return head, line(store, "commit-tree", line(store, "write-tree", **index), *parents, "-F", "-", data=message)


class TestGitStore(StoreContract, TransactionalStoreContract, ReusableStoreContract, CompletingStoreContract):
    @pytest.fixture(autouse=True)
    def consistent(self, bench):
        """`git fsck` finds nothing wrong with it afterwards."""
        yield
        assert git(bench.store, "fsck", "--full", "--strict", "--no-dangling") == b""

    def make_store(self, directory):
        return GitStore.create(directory / "data.git")

    def person_commits(self, store, branch, files):
        return put(store, branch, self._entries(store, files), b"by hand\n")

    def copy_commit(self, store, commit, branch):
        changed = git(store, "diff-tree", "-r", "-z", "--no-commit-id", commit).split(b"\0")[:-1]
        entries = []
        for meta, name in zip(changed[::2], changed[1::2], strict=True):
            _, mode, _, blob, _ = meta.split()
            entries.append((b"0" if mode == b"000000" else mode) + b" " + blob + b"\t" + name)
        _, message = git(store, "cat-file", "commit", commit).split(b"\n\n", 1)
        return put(store, branch, entries, message)

    def person_merges(self, store, source, branch):
        listed = git(store, "ls-tree", "-r", "-z", "--full-tree", source).split(b"\0")[:-1]
        entries = [entry.replace(b" blob ", b" ") for entry in listed]
        head, merge = make_commit(store, branch, entries, b"merged\n", self.head(store, source))
        git(store, "update-ref", f"refs/heads/{branch}", merge, head)
        git(store, "update-ref", "-d", f"refs/heads/{source}")
        return merge

    def forge_seal(self, store, branch, files, stamp):
        entries = self._entries(store, files)
        _, draft = make_commit(store, branch, entries, b"for its tree")
        return put(
            store, branch, entries, compose(stamp, "sealed", line(store, "rev-parse", f"{draft}^{{tree}}")).encode()
        )

    def head(self, store, branch):
        return line(store, "rev-parse", f"refs/heads/{branch}")

    def first_parent_line(self, store, branch):
        return line(store, "rev-list", "--first-parent", f"refs/heads/{branch}").split()

    def files(self, store, ref):
        listed = git(store, "ls-tree", "-r", "-z", "--full-tree", ref).decode().split("\0")[:-1]
        return {path: self._content(store, meta.split()[2]) for meta, path in (entry.split("\t") for entry in listed)}

    def staged(self, store):
        return line(store, "for-each-ref", "--format=%(refname)", "refs/perago").split()

    def opened_again(self, store):
        return nullcontext(GitStore(store.path))

    def without_repository(self, store, directory):
        return GitStore(directory), "contract"

    @staticmethod
    def _entries(store, files):
        entries = []
        for path, content in files.items():
            blob = "0" * 40 if content is None else line(store, "hash-object", "-w", "--stdin", data=content)
            entries.append(f"{'0' if content is None else '100644'} {blob}\t{path}".encode())
        return entries

    @staticmethod
    def _content(store, blob):
        content = git(store, "cat-file", "blob", blob)
        if not content.startswith(LFS_POINTER):
            return content
        digest = content.decode().split("sha256:")[1].split()[0]
        return (store.path / "lfs" / "objects" / digest[:2] / digest[2:4] / digest).read_bytes()
